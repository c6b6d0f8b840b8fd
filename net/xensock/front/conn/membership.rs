// SPDX-License-Identifier: GPL-2.0

//! A connection as a member of its link: from before its first request until its memory is no
//! longer shared.

use super::{
    patience::PATIENCE,
    state::{
        EndedRing,
        Phase, //
    },
    Conn,
    UnusedConn, //
};
use crate::{
    link::{
        Member,
        Summary, //
    },
    proto::Feature,
    survivors::Survivors, //
};
use kernel::{
    net::sock::Sock,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    workqueue::{
        owned::cancel_delayed_sync,
        WorkItem, //
    },
    xen::trace::xensock_front as trace, //
};

impl Conn {
    /// Adds the connection to its link. From then on the end of the link ends it. May sleep.
    pub(crate) fn enter(fresh: UnusedConn) -> Result<Arc<Self>> {
        let conn = fresh.dismiss();
        match conn.remote.link.enter(conn.remote.id, conn.clone()) {
            Ok(()) => Ok(conn),
            Err(error) => {
                // A work item does the rest: the caller may hold locks, and the teardown may wait
                // for the backend.
                conn.state.lock().end(false);
                Self::released(conn);
                Err(error)
            }
        }
    }

    /// Ends a connection that was never requested from the backend. Waits for the backend, which
    /// may have to unmap the ring.
    pub(crate) fn discard(this: Arc<Self>) {
        this.state.lock().end(false);
        Self::leave_link(this);
    }

    /// Calls `what` unless the connection has ended and its link is down. Any context; `what` must
    /// not sleep.
    pub(crate) fn unless_lost(&self, what: impl FnOnce()) {
        // The end of the link ends the connection under this lock.
        let _state = self.state.lock();
        if self.death().is_none() || self.remote.link.is_up() {
            what();
        }
    }

    /// Returns the socket of the connection, unless the connection still waits for `accept()` or
    /// has ended.
    fn owner_for_listing(&self) -> Option<ARef<Sock>> {
        let state = self.state.lock();
        let is_its_own = match state.phase {
            Phase::Connecting | Phase::Open { .. } | Phase::Draining { .. } => true,
            Phase::Posted | Phase::Ready | Phase::Released(_) | Phase::Gone => false,
        };
        is_its_own.then(|| state.sk.clone())
    }

    /// Leaves the ring to another connection, if the backend has it mapped, no task will read from
    /// it, and the link's pool has a place for it. Called once, with RELEASE. Any context.
    pub(super) fn leave_ring(&self) -> bool {
        if !self.content.leaves_ring() {
            return false;
        }
        let link = &self.remote.link;
        let mut state = self.state.lock();
        let leaves = match state.phase {
            Phase::Released(EndedRing::Free) => {
                link.has(Feature::RingReuse) && link.ring_pool.reserve(&self.ring)
            }
            Phase::Released(EndedRing::Used) => false,
            _ => return false,
        };
        self.ring.set_kept(leaves);
        if leaves {
            state.phase = Phase::Released(EndedRing::Left);
        }
        leaves
    }

    /// Leaves the link. Leaves the ring to another connection, or frees it. Waits for the backend.
    ///
    /// At any time the ring is in the members of the link or in its pool, so it is not shared any
    /// more once the link is down.
    fn leave_link(this: Arc<Self>) {
        let (link, ring, id) = (this.remote.link.clone(), this.ring.clone(), this.remote.id);
        // The phase first: `ConnRing::connect` then does not connect the ring after `disconnect`.
        let ended = core::mem::replace(&mut this.state.lock().phase, Phase::Gone);
        this.end_growth();
        ring.disconnect();
        let is_left = ended == Phase::Released(EndedRing::Left);
        let is_spare = is_left && link.ring_pool.enter(&ring);
        if !is_spare {
            ring.give_up(&link);
        }
        link.forget(id);
        // A call on the socket may still read from the ring, and holds a reference then.
        let is_last = Arc::into_unique_or_drop(this).is_some();
        if is_spare && is_last {
            link.offer(&ring);
        } else if is_spare {
            ring.give_up(&link);
            link.ring_pool.remove(&ring);
        }
    }
}

impl Member for Conn {
    fn is_listener(&self) -> bool {
        false
    }

    fn owner(&self) -> u64 {
        self.remote.owner
    }

    /// Ends the connection: notifies the socket, and stops sharing memory.
    fn link_down(self: Arc<Self>) {
        let error = self.content.loss();
        let (sk, was_open) = {
            let state = self.state.lock();
            (state.sk.clone(), state.is_open())
        };
        // A closed connection is of no concern to its socket, which may have lost another one.
        let may_survive = was_open && self.content.survives(&sk);
        let survives = {
            let mut state = self.state.lock();
            let survives = may_survive && state.is_open();
            if !state.is_over() {
                trace::error(self.remote.id, error, c"the link is down");
                if survives {
                    self.set_death(error);
                    state.sk.state_changed();
                    state.end(false);
                } else {
                    self.fail(&mut state, error);
                }
            }
            survives
        };
        if may_survive && !survives {
            Survivors::remove(&sk);
        } else if survives && !self.content.survives(&sk) {
            // Again, because the socket may have been set up in between, with this connection. If
            // its namespace does not allow that any more, its tasks see the loss.
            sk.state_changed();
        }
        let _ = cancel_delayed_sync::<_, PATIENCE>(&self);
        self.end_growth();
        self.ring.unshare();
    }

    fn age(self: Arc<Self>, is_short: bool) -> bool {
        Self::look_at_growth(&self, is_short)
    }

    fn needs_maintenance(&self, _is_short: bool) -> bool {
        self.misses_groups()
    }

    fn maintain(&self, _is_short: bool) -> bool {
        self.join_again()
    }

    fn summary(&self) -> Option<Summary> {
        Some(Summary {
            sk: self.owner_for_listing()?,
            is_stream: !self.is_datagram(),
            recv_queue: self.ring.peek_readable() as usize,
            send_queue: self.ring.peek_queued(),
            local: self.local.copy().or(self.remote.local),
            peer: self.peer.copy(),
            sizes: Some((self.ring.rx_size(), self.ring.tx_size())),
        })
    }
}

impl WorkItem for Conn {
    type Pointer = Arc<Conn>;

    fn run(this: Arc<Conn>) {
        let _ = cancel_delayed_sync::<_, PATIENCE>(&this);
        Self::leave_link(this);
    }
}
