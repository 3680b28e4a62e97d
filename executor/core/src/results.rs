//! Results of a batch that were not sent yet, as the bytes they will be sent as.
//!
//! Owns the encoded `results` and `returned` fields of `marmoset.v1.Report`, cut
//! into pieces that fit one update. Holding bytes and not messages keeps a
//! result at some fifteen bytes while the agent is away.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};
use marmoset_proto::marmoset::v1::{IndexRange, ItemResult};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};

use crate::{runs::Outcome, time::WallTime};

/// Largest `data` of one update.
pub const REPORT_BYTES_MAX: usize = 256 * 1024;

/// Field numbers of `Report`.
const RECEIVED_US: u32 = 1;
const RESULTS: u32 = 2;
const RETURNED: u32 = 3;
/// Room for `received_us`.
const HEAD_BYTES_MAX: usize = 16;

/// Results in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pieces: VecDeque<BytesMut>,
    bytes: usize,
}

impl Results {
    pub(crate) fn push(&mut self, result: &ItemResult) {
        self.append(RESULTS, result);
    }

    pub(crate) fn push_returned(&mut self, range: &IndexRange) {
        self.append(RETURNED, range);
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether what waits fits one report.
    pub(crate) fn is_one_report(&self) -> bool {
        self.pieces.len() <= 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Takes the oldest results as one encoded `Report`; one without results if there are none.
    pub(crate) fn take_report(&mut self, received: WallTime) -> Bytes {
        let piece = self.pieces.pop_front().unwrap_or_default();
        self.bytes -= piece.len();
        let mut data = BytesMut::with_capacity(HEAD_BYTES_MAX + piece.len());
        encode_key(RECEIVED_US, WireType::Varint, &mut data);
        encode_varint(received.0, &mut data);
        data.put(piece);
        data.freeze()
    }

    fn append(&mut self, field: u32, message: &impl Message) {
        let length = message.encoded_len();
        // Key, length and message. A message text is bounded where it is made.
        let needed = length + HEAD_BYTES_MAX;
        let full = self
            .pieces
            .back()
            .is_none_or(|piece| piece.len() + needed > REPORT_BYTES_MAX - HEAD_BYTES_MAX);
        if full {
            self.pieces.push_back(BytesMut::new());
        }
        let piece = self.pieces.back_mut().expect("one was pushed");
        let before = piece.len();
        encode_key(field, WireType::LengthDelimited, piece);
        encode_varint(length as u64, piece);
        message.encode_raw(piece);
        self.bytes += piece.len() - before;
    }
}

/// The form in which a run's end is reported.
pub(crate) fn item_result(
    index: u64,
    attempt: u32,
    outcome: &Outcome,
    received: WallTime,
) -> ItemResult {
    ItemResult {
        index,
        attempt: (attempt > 0).then_some(attempt),
        state: Some(outcome.state as i32).filter(|_| outcome.state != DEFAULT_STATE),
        wait_status: outcome.wait_status,
        message: outcome.message.clone(),
        reason: outcome.reason.map(|reason| reason as i32),
        started_us: outcome.started.map(|at| at.micros_since(received)),
        ended_us: Some(outcome.ended.micros_since(received)),
        stdout_bytes: Some(outcome.stdout_bytes).filter(|bytes| *bytes > 0),
        stderr_bytes: Some(outcome.stderr_bytes).filter(|bytes| *bytes > 0),
    }
}

const DEFAULT_STATE: marmoset_proto::mesos::v1::TaskState =
    marmoset_proto::mesos::v1::TaskState::TaskFinished;

#[cfg(test)]
mod tests {
    use marmoset_proto::marmoset::v1::Report;

    use super::*;

    #[test]
    fn pieces_fit_and_nothing_is_lost() {
        let mut results = Results::default();
        for index in 0..20_000 {
            let message = Some("x".repeat(40));
            results.push(&ItemResult { index, message, ..Default::default() });
        }
        results.push_returned(&IndexRange { begin: 20_000, end: 20_009 });
        assert!(!results.is_one_report());
        let mut seen = Vec::new();
        while !results.is_empty() {
            let data = results.take_report(WallTime(7));
            assert!(data.len() <= REPORT_BYTES_MAX);
            let report = Report::decode(data).unwrap();
            assert_eq!(report.received_us, Some(7));
            seen.extend(report.results.iter().map(|result| result.index));
            for range in report.returned {
                seen.extend(range.begin..=range.end);
            }
        }
        assert_eq!(seen, (0..20_010).collect::<Vec<_>>());
        assert_eq!(results.bytes(), 0);
    }

    #[test]
    fn a_usual_result_is_small() {
        let outcome = Outcome {
            state: DEFAULT_STATE,
            wait_status: Some(0),
            message: None,
            reason: None,
            limitation: None,
            started: Some(WallTime(1_000_000)),
            ended: WallTime(1_002_000),
            stdout_bytes: 0,
            stderr_bytes: 0,
        };
        let mut results = Results::default();
        results.push(&item_result(9_000, 0, &outcome, WallTime(0)));
        assert!(results.bytes() <= 16, "{}", results.bytes());
    }
}
