//! Errors in the form of the service that was called.

use super::Call;

/// The whole answer, head and body.
pub(super) fn error(call: &Call, status: u16, code: &str, region: Option<&str>) -> Vec<u8> {
    let message = match region {
        Some(region) => format!("injected by the proxy; expecting '{region}'"),
        None => "injected by the proxy".to_owned(),
    };
    // S3 tells it in a header when it sends elsewhere, and in the message when a signature is for another region.
    let region = region.filter(|_| code == "PermanentRedirect");
    let region = region.map(|region| format!("x-amz-bucket-region: {region}\r\n")).unwrap_or_default();
    let (kind, body) = match call.is_json() {
        true => ("application/x-amz-json-1.0", format!(r#"{{"__type":"{code}","message":"{message}"}}"#)),
        false if call.service == "s3" => (
            "application/xml",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>0</RequestId></Error>"
            ),
        ),
        false => (
            "text/xml",
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
            ),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status} Injected\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-amzn-requestid: 0\r\n{region}\r\n",
        body.len()
    );
    // The answer to HEAD has the head of the answer to GET, and no body.
    let body = if call.method == "HEAD" { "" } else { body.as_str() };
    format!("{head}{body}").into_bytes()
}
