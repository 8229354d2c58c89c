//! Functions of Lambda on ministack: Python, run as processes beside it.
//!
//! What it does differently from AWS, as far as tests touch it: payloads of any size are taken, and such as are no JSON; the type of an
//! error that a function raises is not told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Crc;
use serde_json::{Value, json};

use super::Ministack;

/// The one file of a function.
const FILE: &str = "index.py";

/// Makes a function of this source, whose `handler(event, context)` is called, and gives its ARN.
///
/// # Errors
/// What the server said.
pub async fn function(server: &Ministack, name: &str, source: &str) -> Result<String, String> {
    let body = json!({
        "FunctionName": name,
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/tests",
        "Handler": "index.handler",
        "Timeout": 30,
        "Code": {"ZipFile": STANDARD.encode(zip(source.as_bytes()))},
    });
    let request = reqwest::Client::new().post(format!("{}/2015-03-31/functions", server.url())).json(&body);
    let made = said(request).await?;
    made["FunctionArn"].as_str().map(str::to_owned).ok_or_else(|| format!("no ARN in {made}"))
}

/// Lets so many invocations of a function run at a time; with 0 all are throttled.
///
/// # Errors
/// What the server said.
pub async fn concurrency(server: &Ministack, name: &str, most: u32) -> Result<(), String> {
    let url = format!("{}/2017-10-31/functions/{name}/concurrency", server.url());
    let request = reqwest::Client::new().put(url).json(&json!({"ReservedConcurrentExecutions": most}));
    said(request).await.map(drop)
}

async fn said(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let (status, text) = (answer.status(), answer.text().await.map_err(|error| error.to_string())?);
    match status.is_success() {
        true => serde_json::from_str(&text).map_err(|error| format!("{error}: {text}")),
        false => Err(format!("{status}: {text}")),
    }
}

/// An archive with these bytes as its one file, not compressed (APPNOTE 6.3.10, 4.3.7 to 4.3.16).
fn zip(bytes: &[u8]) -> Vec<u8> {
    const LOCAL: u32 = 0x0403_4b50;
    const CENTRAL: u32 = 0x0201_4b50;
    const END: u32 = 0x0605_4b50;
    /// Midnight of 1 January 1980.
    const DATE: u16 = 0b10_0001;
    /// A plain file that all may read.
    const MODE: u32 = 0o100_644 << 16;
    let mut crc = Crc::new();
    crc.update(bytes);
    let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
    let long = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    // Version, flags, method, time, date, checksum, both sizes, the lengths of the name and of what is beside it.
    let mut about = [20_u16, 0, 0, 0, DATE].map(u16::to_le_bytes).concat();
    about.extend([crc.sum().to_le_bytes(), long(bytes.len()), long(bytes.len())].concat());
    about.extend([short(FILE.len()), short(0)].concat());
    let file = [&LOCAL.to_le_bytes()[..], &about, FILE.as_bytes(), bytes].concat();
    // Made by Unix; no comment, the first disk, no attributes of its own, the mode, where it begins.
    let mut central = [&CENTRAL.to_le_bytes()[..], &0x0314_u16.to_le_bytes(), &about, &[0; 6]].concat();
    central.extend([&MODE.to_le_bytes()[..], &long(0), FILE.as_bytes()].concat());
    let mut end = [&END.to_le_bytes()[..], &[0; 4], &short(1), &short(1)].concat();
    end.extend([&long(central.len())[..], &long(file.len()), &short(0)].concat());
    [file, central, end].concat()
}
