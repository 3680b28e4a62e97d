//! Numbers of bytes in the text form of Mesos: `10MB`, units of 1024.

/// A text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: write it like `10MB`, with one of B, KB, MB, GB, TB")]
pub struct SizeError(String);

const UNITS: [(&str, u32); 5] = [("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)];

/// Reads a size.
///
/// # Errors
/// It has no unit, or none that is known, or is too large.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let read = || {
        let text = text.trim();
        let (number, shift) =
            UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
        let number = number.trim_end();
        // `parse` would take a sign.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| digits)?;
        number.checked_mul(1 << shift)
    };
    read().ok_or_else(|| SizeError(text.to_owned()))
}

/// Writes a size for people: `812 MB`, `1.5 MB`, `17 bytes`.
pub fn for_people(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| *shift > 0 && bytes >> shift > 0);
    let Some((unit, shift)) = unit else {
        return format!("{bytes} byte{}", if bytes == 1 { "" } else { "s" });
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    match (tenths / 10, tenths % 10) {
        (whole @ 0..10, tenth @ 1..) => format!("{whole}.{tenth} {unit}"),
        (whole, _) => format!("{whole} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0B", 0), ("10MB", 10 << 20), ("1 KB", 1024), ("3TB", 3 << 40), ("512GB", 512 << 30)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "MB", "-1MB", "+1MB", "1.5MB", "1mb", "1PB", "99999999999TB"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("write it like `10MB`"), "{text}: {error}");
        }
    }

    #[test]
    fn people_read_the_largest_unit() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KB"),
            (1536, "1.5 KB"),
            (5 << 20, "5 MB"),
            (812 << 20, "812 MB"),
            (u64::MAX, "16777215 TB"),
        ] {
            assert_eq!(for_people(bytes), text);
        }
    }
}
