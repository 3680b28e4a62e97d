//! Reads JSON text.
//!
//! By hand, because clients see the texts and positions of Mesos' parser, and
//! because it allows more nesting than `serde_json` does.

use serde_json::{Map, Number, Value};

use super::SyntaxError;

/// How deep arrays and objects may nest.
const MAX_LEVELS: u32 = 200;

pub(super) fn parse(text: &[u8]) -> Result<Value, SyntaxError> {
    let mut input = Input { text, at: 0 };
    let value = input.value(MAX_LEVELS).map_err(|stop| match stop {
        Stop::Unexpected => input.unexpected(),
        Stop::TooDeep => SyntaxError::TooDeep,
    })?;
    let rest = text[input.at..].trim_ascii();
    if rest.is_empty() { Ok(value) } else { Err(SyntaxError::Trailing(shown(rest))) }
}

struct Input<'a> {
    text: &'a [u8],
    at: usize,
}

/// Why reading ended; where is in the input.
enum Stop {
    Unexpected,
    TooDeep,
}

impl Input<'_> {
    fn value(&mut self, levels: u32) -> Result<Value, Stop> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => {
                self.at += 1;
                self.string().map(Value::String)
            }
            Some(b'[') => {
                self.at += 1;
                self.array(levels.checked_sub(1).ok_or(Stop::TooDeep)?)
            }
            Some(b'{') => {
                self.at += 1;
                self.object(levels.checked_sub(1).ok_or(Stop::TooDeep)?)
            }
            Some(b'0'..=b'9' | b'-') => self.number(),
            _ => Err(Stop::Unexpected),
        }
    }

    fn array(&mut self, levels: u32) -> Result<Value, Stop> {
        let mut values = Vec::new();
        if self.accept(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(levels)?);
            if !self.accept(b',') {
                self.expect(b']')?;
                return Ok(Value::Array(values));
            }
        }
    }

    fn object(&mut self, levels: u32) -> Result<Value, Stop> {
        let mut values = Map::new();
        if self.accept(b'}') {
            return Ok(Value::Object(values));
        }
        loop {
            self.expect(b'"')?;
            let key = self.string()?;
            self.expect(b':')?;
            let value = self.value(levels)?;
            values.insert(key, value);
            if !self.accept(b',') {
                self.expect(b'}')?;
                return Ok(Value::Object(values));
            }
        }
    }

    /// The rest of a string, behind its opening quote.
    fn string(&mut self) -> Result<String, Stop> {
        let mut out = Vec::new();
        loop {
            let plain = self.text[self.at..]
                .iter()
                .position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'))
                .unwrap_or(self.text.len() - self.at);
            out.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(into_text(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(Stop::Unexpected),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Stop> {
        let letter = self.peek().ok_or(Stop::Unexpected)?;
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return Err(Stop::Unexpected),
        })
    }

    fn code_point(&mut self) -> Result<char, Stop> {
        let first = self.four_digits()?;
        let code = match first {
            0xd800..=0xdbff => {
                for expected in *b"\\u" {
                    if self.peek() != Some(expected) {
                        return Err(Stop::Unexpected);
                    }
                    self.at += 1;
                }
                let second = self.four_digits()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(Stop::Unexpected);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(Stop::Unexpected)
    }

    fn four_digits(&mut self) -> Result<u32, Stop> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or(Stop::Unexpected)?;
            self.at += 1;
        }
        Ok(code)
    }

    /// A whole number if it fits 64 bits, else a double, as in Mesos.
    fn number(&mut self) -> Result<Value, Stop> {
        let length = self.text[self.at..]
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(self.text.len() - self.at);
        let text = &self.text[self.at..self.at + length];
        let number = std::str::from_utf8(text).ok().and_then(|text| {
            text.parse::<i64>().map(Number::from).ok().or_else(|| {
                text.parse::<u64>()
                    .map(Number::from)
                    .ok()
                    .or_else(|| Number::from_f64(text.parse().ok()?))
            })
        });
        self.at += length;
        number.map(Value::Number).ok_or(Stop::Unexpected)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Stop> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(Stop::Unexpected);
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.accept(byte) { Ok(()) } else { Err(Stop::Unexpected) }
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn unexpected(&self) -> SyntaxError {
        let (before, rest) = self.text.split_at(self.at);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let near = rest.split(|byte| *byte == b'\n').next().unwrap_or(rest);
        SyntaxError::Unexpected { line, near: shown(near) }
    }
}

/// Longest piece of a client's text in an answer.
const MAX_SHOWN: usize = 1024;

fn shown(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MAX_SHOWN)];
    String::from_utf8_lossy(bytes).chars().filter(|c| *c >= ' ').collect()
}

/// Mesos does not look at the encoding; our strings are UTF-8.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
