// SPDX-License-Identifier: GPL-2.0

//! A connection as a member of its link: from its first request on until its memory is not shared any
//! more.

use super::{
    life::{
        Phase,
        PATIENCE, //
    },
    Conn,
    Fresh,
    Kind, //
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
        atomic::{
            Relaxed,
            Release, //
        },
        Arc, //
    },
    workqueue::{
        owned::cancel_delayed_sync,
        WorkItem, //
    },
    xen::trace::xensock_front as trace, //
};

impl Conn {
    /// Makes it known to its link, which ends it from now on. May sleep.
    pub(crate) fn enter(fresh: Fresh) -> Result<Arc<Self>> {
        let conn = fresh.dismiss();
        match conn.remote.link.enter(conn.remote.id, conn.clone()) {
            Ok(()) => Ok(conn),
            Err(error) => {
                // Elsewhere: who calls this may hold locks, and that may wait for the backend.
                conn.set_released();
                Self::released(conn);
                Err(error)
            }
        }
    }

    /// Ends a connection that the backend was never asked for. Waits for the backend, which may have
    /// to unmap the ring.
    pub(crate) fn discard(this: Arc<Self>) {
        this.set_released();
        Self::part(this);
    }

    /// Returns the socket that it belongs to, unless it waits for one still.
    fn owner_for_listing(&self) -> Option<ARef<Sock>> {
        let owner = self.owner.lock();
        let is_its_own = match owner.phase {
            Phase::Pending | Phase::Ready => self.kind != Kind::Posted,
            Phase::Open | Phase::Draining => true,
            Phase::Released => false,
        };
        is_its_own.then(|| owner.sk.clone())
    }

    /// Has the directions neither grow nor shrink any more. May sleep.
    fn end_growth(&self) {
        *self.resizing.lock() = true;
    }

    /// Has the ring go to another connection, if the backend has it, nobody will read from it and the
    /// link has a place for it. Called once, with RELEASE. Any context.
    pub(super) fn leave_ring(&self) -> bool {
        let link = &self.remote.link;
        let leaves = self.kind != Kind::Datagram
            && link.has(Feature::RingReuse)
            && self.has_stood.load(Relaxed)
            && self.is_let_go.load(Relaxed)
            && link.spares.reserve(&self.ring);
        if self.has_stood.load(Relaxed) {
            self.ring.set_kept(leaves);
        }
        self.leaves_ring.store(leaves, Relaxed);
        leaves
    }

    /// Leaves the link, and the ring to another connection or nobody. Waits for the backend.
    ///
    /// At any time either the members of the link or its spares have the ring, so that it is not
    /// shared any more once the link is down.
    fn part(this: Arc<Self>) {
        let (link, ring, id) = (this.remote.link.clone(), this.ring.clone(), this.remote.id);
        // In this order: see `Shared::connect`.
        this.has_parted.store(true, Relaxed);
        this.end_growth();
        ring.disconnect();
        let is_spare = this.leaves_ring.load(Relaxed) && link.spares.enter(&ring);
        if !is_spare {
            ring.give_up(&link);
        }
        link.forget(id);
        // A call on the socket may still read from the ring, and has a reference then.
        let is_last = Arc::into_unique_or_drop(this).is_some();
        if is_spare && is_last {
            link.offer(&ring);
        } else if is_spare {
            ring.give_up(&link);
            link.spares.remove(&ring);
        }
    }
}

impl Member for Conn {
    fn is_listener(&self) -> bool {
        false
    }

    /// Ends the connection: tells the socket, and stops sharing memory.
    fn link_down(self: Arc<Self>) {
        let error = match self.kind {
            Kind::Stream | Kind::Posted => ECONNRESET,
            Kind::Datagram => ENETDOWN,
        };
        let sk = self.owner.lock().sk.clone();
        let may_survive = self.kind == Kind::Datagram && Survivors::enter(&sk);
        let survives = {
            let mut owner = self.owner.lock();
            let survives = may_survive && owner.phase == Phase::Open;
            if owner.phase != Phase::Released {
                trace::error(self.remote.id, error, c"the link is down");
                if survives {
                    self.dead.store(-error.to_errno(), Release);
                    owner.sk.state_changed();
                } else {
                    self.tell_dead(&owner, error);
                }
                owner.phase = Phase::Released;
            }
            survives
        };
        if may_survive && !survives {
            Survivors::remove(&sk);
        }
        let _ = cancel_delayed_sync::<_, PATIENCE>(&self);
        self.end_growth();
        self.ring.unshare();
    }

    fn age(self: Arc<Self>, is_short: bool) -> bool {
        Self::look_at_growth(&self, is_short)
    }

    fn summary(&self) -> Option<Summary> {
        Some(Summary {
            sk: self.owner_for_listing()?,
            is_stream: self.kind != Kind::Datagram,
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
        Self::part(this);
    }
}
