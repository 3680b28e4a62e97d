//! Tells how a process ended, in the words of the built-in executor.

/// Describes a wait(2) status: `Command exited with status 3`.
///
/// A status that is neither an exit nor a signal (a stopped process) is told as a number.
pub fn describe(wait_status: i32) -> String {
    match ending(wait_status) {
        Ending::Exited(code) => format!("Command exited with status {code}"),
        Ending::Signalled { signal, core } => {
            let suffix = if core { " (core dumped)" } else { "" };
            format!("Command terminated with signal {}{suffix}", signal_text(signal))
        }
        Ending::Other => format!("Command wait status {wait_status}"),
    }
}

/// Whether the process ended by itself with status 0.
pub fn is_success(wait_status: i32) -> bool {
    ending(wait_status) == Ending::Exited(0)
}

/// How a process ended, taken out of a wait(2) status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It called exit, or returned from main.
    Exited(u8),
    /// A signal ended it.
    Signalled {
        /// Number of the signal.
        signal: u8,
        /// Whether memory was dumped.
        core: bool,
    },
    /// It did not end: stopped or continued.
    Other,
}

/// Takes a Linux wait(2) status apart.
pub fn ending(wait_status: i32) -> Ending {
    let [low, code, ..] = wait_status.to_le_bytes();
    match low & 0x7f {
        0 => Ending::Exited(code),
        0x7f => Ending::Other,
        signal => Ending::Signalled { signal, core: low & 0x80 != 0 },
    }
}

/// The text glibc's `strsignal` gives on Linux x86-64 and arm64.
fn signal_text(signal: u8) -> String {
    let text = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        16 => "Stack fault",
        17 => "Child exited",
        18 => "Continued",
        19 => "Stopped (signal)",
        20 => "Stopped",
        21 => "Stopped (tty input)",
        22 => "Stopped (tty output)",
        23 => "Urgent I/O condition",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        26 => "Virtual timer expired",
        27 => "Profiling timer expired",
        28 => "Window changed",
        29 => "I/O possible",
        30 => "Power failure",
        31 => "Bad system call",
        34..=64 => return format!("Real-time signal {}", signal - 34),
        _ => return format!("Unknown signal {signal}"),
    };
    text.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (status, text) in [
            (0, "Command exited with status 0"),
            (3 << 8, "Command exited with status 3"),
            (255 << 8, "Command exited with status 255"),
            (9, "Command terminated with signal Killed"),
            (15, "Command terminated with signal Terminated"),
            (11, "Command terminated with signal Segmentation fault"),
            (11 | 0x80, "Command terminated with signal Segmentation fault (core dumped)"),
            (35, "Command terminated with signal Real-time signal 1"),
            (33, "Command terminated with signal Unknown signal 33"),
            (0x137f, "Command wait status 4991"),
        ] {
            assert_eq!(describe(status), text);
        }
        assert!(is_success(0) && !is_success(256) && !is_success(9));
    }
}
