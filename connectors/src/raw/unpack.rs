//! Unpacking: gzip of any number of members, zstd of any number of frames, or nothing at all, told by the first bytes.
//!
//! Names lie (`Content-Encoding: gzip` is unpacked on its way by some clients, suffixes are chosen by people), first bytes do
//! not. However well something is packed, only about [`ROOM`] bytes of it are unpacked at once.

use std::fmt;
use std::io::Write;

use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Bytes that one step unpacks, about.
const ROOM: usize = 1 << 20;
/// Packed bytes of gzip taken at once: they unpack to 1032 times as many at most.
const SIP: usize = 1 << 10;
/// The largest window of zstd that is kept, as a power of two: 32 MiB.
const WINDOW_LOG: u32 = 25;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Unpacks bytes as they come.
pub struct Unpack {
    packing: Packing,
}

enum Packing {
    /// The first bytes, until there are enough to tell.
    Unknown(Vec<u8>),
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: Box<Decoder<'static>>,
        whole: bool,
    },
}

impl fmt::Debug for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packing = match &self.packing {
            Packing::Unknown(_) => "unknown",
            Packing::Plain => "plain",
            Packing::Gzip(_) => "gzip",
            Packing::Zstd { .. } => "zstd",
        };
        f.debug_struct("Unpack").field("packing", &packing).finish()
    }
}

impl Default for Unpack {
    fn default() -> Self {
        Unpack { packing: Packing::Unknown(Vec::new()) }
    }
}

impl Unpack {
    /// Unpacks some of `input`, which is shortened by what was taken, and appends to `output`. Says whether it should be called
    /// again before more input comes. An error is for ever: the file is damaged.
    pub fn step(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, String> {
        match &mut self.packing {
            Packing::Unknown(first) => {
                let missing = ZSTD.len().saturating_sub(first.len()).min(input.len());
                let (head, rest) = input.split_at(missing);
                first.extend_from_slice(head);
                *input = rest;
                if first.len() < ZSTD.len() {
                    return Ok(false);
                }
                self.begin(output)?;
                Ok(true)
            }
            Packing::Plain => {
                output.extend_from_slice(input);
                *input = &[];
                Ok(false)
            }
            Packing::Gzip(decoder) => {
                let (sip, rest) = input.split_at(input.len().min(SIP));
                decoder.write_all(sip).map_err(|error| format!("gzip: {error}"))?;
                output.append(decoder.get_mut());
                *input = rest;
                Ok(!rest.is_empty())
            }
            Packing::Zstd { decoder, whole } => zstd(decoder, whole, input, output),
        }
    }

    /// No more input follows: an error when the file ends too early.
    pub fn finish(&mut self, output: &mut Vec<u8>) -> Result<(), String> {
        if let Packing::Unknown(_) = &self.packing {
            self.begin(output)?;
        }
        match &mut self.packing {
            Packing::Gzip(decoder) => {
                decoder.try_finish().map_err(|error| format!("gzip: cut off or damaged: {error}"))?;
                output.append(decoder.get_mut());
            }
            Packing::Zstd { whole: false, .. } => return Err("zstd: cut off".into()),
            _ => {}
        }
        Ok(())
    }

    /// The packing is told by the first bytes, which are then unpacked.
    fn begin(&mut self, output: &mut Vec<u8>) -> Result<(), String> {
        let Packing::Unknown(first) = &mut self.packing else { return Ok(()) };
        let first = std::mem::take(first);
        // The 16 magic numbers of zstd's skippable frames differ in their last four bits.
        let skippable = first.len() == 4 && first[0] & 0xf0 == 0x50 && first[1..] == [0x2a, 0x4d, 0x18];
        self.packing = if first.starts_with(&GZIP) {
            Packing::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
        } else if first == ZSTD || skippable {
            let mut decoder = Decoder::new().map_err(|error| format!("zstd: {error}"))?;
            decoder
                .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
                .map_err(|error| format!("zstd: {error}"))?;
            Packing::Zstd { decoder: Box::new(decoder), whole: true }
        } else {
            Packing::Plain
        };
        let mut rest = first.as_slice();
        while !rest.is_empty() {
            self.step(&mut rest, output)?;
        }
        Ok(())
    }
}

fn zstd(
    decoder: &mut Decoder<'static>,
    whole: &mut bool,
    input: &mut &[u8],
    output: &mut Vec<u8>,
) -> Result<bool, String> {
    let mut room = vec![0; ROOM];
    let mut from = InBuffer::around(input);
    let mut into = OutBuffer::around(room.as_mut_slice());
    let hint = decoder.run(&mut from, &mut into).map_err(|error| format!("zstd: {error}"))?;
    let (taken, made) = (from.pos(), into.pos());
    if taken > 0 || made > 0 {
        *whole = hint == 0;
    }
    output.extend_from_slice(&room[..made]);
    *input = &input[taken..];
    // A full room may leave something inside the decoder, whatever is left of the input.
    Ok(!input.is_empty() || made == ROOM)
}
