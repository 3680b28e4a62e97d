//! What can be wrong with an archive.

use std::io;

use crate::fetch::place::PlaceError;

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub(in crate::fetch) enum ArchiveError {
    #[error("it is damaged, or not what its name says: {0}")]
    Damaged(#[source] io::Error),
    #[error("the name `{name}` in it {reason}")]
    Name { name: String, reason: PlaceError },
    #[error("the target `{target}` of the link `{name}` in it {reason}")]
    Target { name: String, target: String, reason: PlaceError },
    #[error("`{name}` in it is {kind}, which is not allowed")]
    Kind { name: String, kind: &'static str },
    #[error(
        "`{name}` in it is a sparse file in pax format, which is not supported: pack it with \
         `--format=gnu`, or without `--sparse`"
    )]
    PaxSparse { name: String },
    #[error("it holds more than the {limit} files and folders that are allowed")]
    TooMany { limit: u64 },
    #[error("it unpacks to more than the {limit} bytes that are allowed")]
    TooLarge { limit: u64 },
    #[error("it is damaged, or its headers alone are larger than allowed")]
    Headers,
}
