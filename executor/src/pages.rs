//! Memory that is not needed is given back.
//!
//! Owns the way to do so: pages of the program that only its start has touched,
//! and what the allocator keeps. Refuses to know when: the dispatcher does it
//! when nothing has happened for a while, the guard once its workers run.
#![expect(unsafe_code, reason = "madvise(2) and malloc_trim(3) have no safe wrapper")]

use std::fs;

/// A part of the address space, as a line of `/proc/self/smaps` and those below it tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    start: usize,
    end: usize,
}

/// Gives back what can be had again at any time.
///
/// Pages of files that were never written to: they are read again, from the kernel's cache, when
/// they are touched. And free memory of the allocator. Does nothing where `/proc` tells nothing.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number; the allocator locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else { return };
    for Region { start, end } in clean(&smaps) {
        // SAFETY: the region is a private mapping of a file that is not writable and has no page
        // that differs from the file, so that what is read there stays the same.
        let _unchanged =
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// Private mappings of files, not writable, of which no page differs from the file.
fn clean(smaps: &str) -> Vec<Region> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(region) = region(first) {
            let rights = words.next().unwrap_or_default();
            // Offset, device, inode; 0 for what is no file.
            let is_file = words.nth(2).is_some_and(|inode| inode != "0");
            let is_private = rights.ends_with('p') && !rights.contains('w');
            current = Some(region).filter(|_| is_file && is_private);
        } else if first == "Anonymous:" {
            current = current.filter(|_| words.next() == Some("0"));
        } else if first == "Swap:" {
            found.extend(current.take().filter(|_| words.next() == Some("0")));
        }
    }
    found
}

/// Reads `55d0-55e0`.
fn region(word: &str) -> Option<Region> {
    let (start, end) = word.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(Region { start: number(start)?, end: number(end)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_equals_its_file_is_given_back() {
        let smaps = "\
1000-2000 r-xp 00000000 08:01 77  /bin/x
Rss:                 4 kB
Anonymous:           0 kB
Swap:                0 kB
VmFlags: rd ex mr mw me
2000-3000 r--p 00001000 08:01 77  /bin/x
Anonymous:           4 kB
Swap:                0 kB
3000-4000 rw-p 00002000 08:01 77  /bin/x
Anonymous:           0 kB
Swap:                0 kB
4000-5000 r--p 00000000 00:00 0  [vvar]
Anonymous:           0 kB
Swap:                0 kB
5000-6000 r--s 00000000 08:01 78  /tmp/shared
Anonymous:           0 kB
Swap:                0 kB
6000-7000 r--p 00000000 08:01 79  /lib/y
Anonymous:           0 kB
Swap:                0 kB
7000-8000 r--p 00000000 08:01 79  /lib/y
Anonymous:           0 kB
Swap:                4 kB
";
        let regions = [(0x1000, 0x2000), (0x6000, 0x7000)];
        assert_eq!(clean(smaps), regions.map(|(start, end)| Region { start, end }));
    }

    #[test]
    fn the_program_goes_on_with_less() {
        let text = "as before".repeat(1000);
        give_back();
        assert_eq!(text, "as before".repeat(1000));
    }
}
