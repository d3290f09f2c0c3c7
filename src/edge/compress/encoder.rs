//! One coding of one body: bytes in, bytes out when the coder has enough or is told to give what it has. Each keeps a
//! window small enough that hundreds at a time fit into memory.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use zstd::zstd_safe::CParameter;

use super::Coding;

/// Windows of 256 KiB: pages and JSON repeat themselves within that, and a stream's memory stays at 1 MiB (zstd), 0.4
/// (gzip) or 3.4 (brotli, when the body is long). Never below 17 for brotli: its levels from 5 on take 32 MiB then.
const WINDOW_BITS: u32 = 18;

/// Bytes that brotli gathers before it writes.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// A coder that writes into memory.
pub(super) enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// A coder for one body, whose length may be known.
    pub(super) fn new(coding: Coding, level: u32, bytes: Option<u64>) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => {
                let level = i32::try_from(level).map_err(io::Error::other)?;
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW_BITS))?;
                // Tables as small as the body.
                encoder.set_pledged_src_size(bytes)?;
                Self::Zstd(encoder)
            }
            Coding::Brotli => {
                let encoder =
                    brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER_BYTES, level, WINDOW_BITS);
                Self::Brotli(Box::new(encoder))
            }
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
        })
    }

    /// Take some bytes in.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    /// Give out what was taken in, so that the other end can read all of it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    /// What has come out so far.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        })
    }

    /// The end, and everything that has not been taken.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}
