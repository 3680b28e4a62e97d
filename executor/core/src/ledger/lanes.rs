//! The ways that updates take: connections, each with one call at a time.
//!
//! Owns which updates wait for which connection. Refuses to know what they say:
//! it sees their places in the order of creation. Called by the ledger.
//!
//! An agent handles calls in order within one connection only, and a call is
//! sent when the one before it was answered. So what is in one lane arrives in
//! its order, and what must keep its order stays in one lane. The first lane
//! that has nothing to do is chosen: an executor with little to say uses one.

use std::collections::VecDeque;

use super::Seq;
use crate::ids::{CallId, LaneId};

/// All lanes; there is at least one.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug, Default)]
struct Lane {
    /// May name updates that were dropped since.
    ready: VecDeque<Seq>,
    /// How many of `ready` were not dropped.
    waiting: usize,
    calling: Option<(CallId, Seq)>,
}

impl Lanes {
    pub(super) fn new(count: usize) -> Self {
        Self(std::iter::repeat_with(Lane::default).take(count.max(1)).collect())
    }

    /// The first of those with the least to do.
    pub(super) fn freest(&self) -> LaneId {
        let load = |lane: &Lane| lane.waiting + usize::from(lane.calling.is_some());
        let freest = self.0.iter().enumerate().min_by_key(|(_, lane)| load(lane));
        LaneId(freest.map_or(0, |(index, _)| index))
    }

    /// Lets an update wait for its turn.
    pub(super) fn push(&mut self, id: LaneId, seq: Seq) {
        let lane = &mut self.0[id.0];
        lane.ready.push_back(seq);
        lane.waiting += 1;
    }

    /// One of those that wait in this lane is not to be sent.
    pub(super) fn drop_one(&mut self, id: LaneId) {
        let lane = &mut self.0[id.0];
        lane.waiting -= 1;
        if lane.waiting == 0 {
            lane.ready.clear();
        }
    }

    /// Takes the next update that `is_ready` of a lane without a call.
    pub(super) fn take(&mut self, is_ready: impl Fn(Seq) -> bool) -> Option<(LaneId, Seq)> {
        for (index, lane) in self.0.iter_mut().enumerate() {
            while lane.calling.is_none()
                && let Some(seq) = lane.ready.pop_front()
            {
                if is_ready(seq) {
                    lane.waiting -= 1;
                    return Some((LaneId(index), seq));
                }
            }
        }
        None
    }

    /// A call of this lane is on its way.
    pub(super) fn begin(&mut self, id: LaneId, call: CallId, seq: Seq) {
        self.0[id.0].calling = Some((call, seq));
    }

    /// A call is over: gives the update that it carried.
    pub(super) fn end(&mut self, call: CallId) -> Option<Seq> {
        let lane = self.0.iter_mut().find(|lane| lane.is_calling(call))?;
        lane.calling.take().map(|(_, seq)| seq)
    }

    pub(super) fn is_calling(&self, call: CallId) -> bool {
        self.0.iter().any(|lane| lane.is_calling(call))
    }

    /// Forgets all calls: gives the updates that they carried.
    pub(super) fn end_all(&mut self) -> Vec<Seq> {
        self.0.iter_mut().filter_map(|lane| Some(lane.calling.take()?.1)).collect()
    }

    /// Nothing waits any more.
    pub(super) fn clear_ready(&mut self) {
        for lane in &mut self.0 {
            lane.ready.clear();
            lane.waiting = 0;
        }
    }

    /// Whether nothing waits and no call is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.0.iter().all(|lane| lane.waiting == 0 && lane.calling.is_none())
    }
}

impl Lane {
    fn is_calling(&self, id: CallId) -> bool {
        self.calling.is_some_and(|(call, _)| call == id)
    }
}
