//! Copies what is in a file.
//!
//! Owns the way that costs least: the kernel copies, and on file systems that can do it shares the
//! blocks. A file that the kernel does not copy, or says too early that it ends, is read.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
};

use nix::{errno::Errno, fcntl::copy_file_range};
use tokio_util::sync::CancellationToken;

/// Bytes that the kernel copies between two looks at whether they are still wanted.
const STRIDE: u64 = 64 << 20;
/// Bytes that are read at a time.
const BLOCK: usize = 256 << 10;

/// Why a copy was not made.
#[derive(Debug)]
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    TooLarge,
    Cancelled,
}

/// Writes what is in `from`, whose position is left alone, to the end of the empty file `to`;
/// blocks. Others may read `from` at the same time.
pub(super) fn contents(
    from: &File,
    to: &mut File,
    limit: u64,
    stop: &CancellationToken,
) -> Result<(), CopyError> {
    let mut at = share(from, to, limit, stop)?;
    to.seek(SeekFrom::Start(at)).map_err(CopyError::Write)?;
    // One byte tells that there is nothing more, which is what there mostly is.
    let mut buffer = vec![0; if at == 0 { BLOCK } else { 1 }];
    loop {
        if stop.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        let length = match from.read_at(&mut buffer, at) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        at += length as u64;
        if at > limit {
            return Err(CopyError::TooLarge);
        }
        to.write_all(&buffer[..length]).map_err(CopyError::Write)?;
        buffer.resize(BLOCK, 0);
    }
}

/// Lets the kernel copy as much as it will; tells how much that was.
fn share(from: &File, to: &File, limit: u64, stop: &CancellationToken) -> Result<u64, CopyError> {
    let (mut source, mut target) = (0, 0);
    loop {
        let done = u64::try_from(target).expect("a size");
        if stop.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        if done > limit {
            return Err(CopyError::TooLarge);
        }
        let stride = STRIDE.min((limit - done).saturating_add(1));
        let stride = usize::try_from(stride).expect("fits every machine");
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), stride) {
            Ok(0) => return Ok(done),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => {
                return Err(CopyError::Write(io::Error::last_os_error()));
            }
            // Other file systems, files of the kernel, old kernels.
            Err(_) => return Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn copy(from: &File, limit: u64) -> Result<Vec<u8>, CopyError> {
        let mut to = tempfile::tempfile().unwrap();
        contents(from, &mut to, limit, &CancellationToken::new())?;
        let mut copied = Vec::new();
        to.rewind().unwrap();
        to.read_to_end(&mut copied).unwrap();
        Ok(copied)
    }

    #[test]
    fn any_size_is_copied_and_too_much_is_not() {
        for size in [0, 1, 2, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let contents = (0..size).map(|n| n as u8).collect::<Vec<_>>();
            let mut from = tempfile::tempfile().unwrap();
            from.write_all(&contents).unwrap();
            assert!(copy(&from, size as u64).unwrap() == contents, "{size}");
            if let Some(limit) = size.checked_sub(1) {
                assert!(matches!(copy(&from, limit as u64), Err(CopyError::TooLarge)), "{size}");
            }
        }
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let from = File::open("/proc/self/environ").unwrap();
        let mut read = Vec::new();
        File::open("/proc/self/environ").unwrap().read_to_end(&mut read).unwrap();
        assert!(copy(&from, 1 << 20).unwrap() == read);
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_copied() {
        let stop = CancellationToken::new();
        stop.cancel();
        let from = tempfile::tempfile().unwrap();
        let mut to = tempfile::tempfile().unwrap();
        assert!(matches!(contents(&from, &mut to, 9, &stop), Err(CopyError::Cancelled)));
    }
}
