// SPDX-License-Identifier: GPL-2.0

//! The steps by which the directions of a connection grow and shrink.

use super::{
    Conn,
    GrowthStage,
    WantedSize,
    GROWTH, //
};
use crate::{
    commands::Exchange,
    errors::is_shortage,
    orders::largest_order,
    proto::{
        ring::{
            Memory,
            Order, //
        },
        Call,
        Way, //
    },
    ring::TakenExtension, //
};
use kernel::{
    net::sock::Sock,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    workqueue::WorkItem,
    xen::trace::xensock_front as trace, //
};

/// The steps of the work item.
impl Conn {
    /// Does the next step of a direction.
    fn resize(this: &Arc<Self>, way: Way) {
        let (stage, response, wanted) = {
            let mut growth = this.growth.sides.lock();
            let side = growth.side(way);
            // The wanted size stays until the growth has ended, for the tasks that wait for its
            // end.
            let wanted = match (side.stage, side.wanted) {
                (GrowthStage::Small | GrowthStage::Leaving, Some(WantedSize::Large)) => side.wanted,
                _ => side.wanted.take(),
            };
            (side.stage, side.response.take(), wanted)
        };
        match (stage, response, wanted) {
            (GrowthStage::Small, _, Some(WantedSize::Large)) => {
                if Self::grow(this, way).is_err() {
                    this.growth.sides.lock().side(way).pause();
                    this.wake_growers(way);
                }
            }
            (GrowthStage::Growing(order), Some(response), _) => {
                Self::grown(this, way, order, response);
                this.wake_growers(way);
            }
            (GrowthStage::Large, _, Some(WantedSize::Small)) => Self::shrink(this, way),
            (GrowthStage::Returning, _, _) => Self::drop_extension(this),
            (GrowthStage::Shrinking, Some(response), _) => Self::shrunk(this, way, response),
            (GrowthStage::Leaving, _, _) => Self::leave(this, way),
            _ => (),
        }
    }

    /// Wakes calls that wait for `out` to grow, see [`Self::grow_now`]. Programs that poll or want
    /// signals are told of the room by [`Self::choose_memory`], and would take this for more news.
    fn wake_growers(&self, way: Way) {
        if way == Way::Out && !self.is_polled() {
            let sk = self.state.lock().sk.clone();
            sk.wake_all();
        }
    }

    /// Wakes tasks that wait for more bytes than the smaller `in` holds, see [`Self::max_wait`].
    fn wake_readers(&self) {
        let sk = self.state.lock().sk.clone();
        sk.data_ready();
    }

    /// Returns the largest order for a direction, as set by the program or by the administrator.
    fn most(&self, sk: &Sock, way: Way) -> Order {
        let wanted = match way {
            Way::In => sk.rcv_buf_asked(),
            Way::Out => sk.snd_buf_asked(),
        };
        wanted
            .map_or(largest_order(), Order::for_size)
            .min(self.remote.link.max_order())
    }

    /// Sends a request about the ring, unless RELEASE was sent or is about to be.
    fn submit_if_open(this: &Arc<Self>, exchange: &Arc<Exchange>) -> Result {
        let state = this.state.lock();
        if !state.is_open() {
            return Err(ENOTCONN);
        }
        this.remote.link.submit(exchange, Some(this.clone()));
        Ok(())
    }

    /// Allocates an extension, and offers it to the backend.
    fn grow(this: &Arc<Self>, way: Way) -> Result {
        let (link, id) = (&this.remote.link, this.remote.id);
        let limit = this.growth.sides.lock().side(way).limit;
        let sk = this.state.lock().sk.clone();
        let most = this.most(&sk, way).min(limit);
        let order = sk.with_memcg(|| this.ring.extend(link, this.remote.owner, way, most))?;

        this.set_stage(way, GrowthStage::Growing(order));
        let grow = Call::Grow { id, way, order };
        let sent = this
            .remote
            .exchange(grow)
            .and_then(|exchange| Self::submit_if_open(this, &exchange));
        if sent.is_err() {
            // The backend knows nothing of the extension.
            this.set_stage(way, GrowthStage::Leaving);
            Self::leave(this, way);
        }
        link.start_expiry();
        sent
    }

    /// Handles the response to GROW: the backend has taken the extension, or has not.
    fn grown(this: &Arc<Self>, way: Way, order: Order, response: Result) {
        trace::resize(this.remote.id, way == Way::Out, order.half_size(), response);
        match response {
            Ok(()) => {
                this.growth.sides.lock().side(way).quiet = 0;
                this.set_stage(way, GrowthStage::Large);
                this.remote.link.counters.ring_grown();
                // The backend itself chooses the memory that it produces into.
                if way == Way::Out {
                    this.growth.sends_large.store(true, Relaxed);
                    if let Some(_tx) = this.tx.try_lock() {
                        this.choose_memory();
                    }
                }
            }
            Err(error) => {
                let less = Order::new(order.get().saturating_sub(2));
                let is_refused = is_shortage(error);
                {
                    let mut growth = this.growth.sides.lock();
                    let side = growth.side(way);
                    match less.filter(|less| is_refused && *less > this.ring.order()) {
                        Some(less) => {
                            side.limit = less;
                            side.wanted = Some(WantedSize::Large);
                        }
                        None => side.pause(),
                    }
                }
                this.set_stage(way, GrowthStage::Leaving);
                Self::leave(this, way);
            }
        }
    }

    /// Begins to give an extension back.
    fn shrink(this: &Arc<Self>, way: Way) {
        match way {
            Way::In => {
                // Read the backend's index, so that the backend can go back to the base.
                let is_impossible = this.rx.try_lock().map(|_rx| this.ring.readable().is_err());
                match is_impossible {
                    Some(true) => Self::broken(this.as_arc_borrow()),
                    _ => Self::ask_to_shrink(this, way),
                }
            }
            Way::Out => {
                this.growth.sends_large.store(false, Relaxed);
                this.set_stage(way, GrowthStage::Returning);
                Self::drop_extension(this);
            }
        }
    }

    /// Gives the extension of `out` back, once the backend has taken all bytes in it.
    fn drop_extension(this: &Arc<Self>) {
        let Some(_tx) = this.tx.try_lock() else {
            return;
        };
        this.choose_memory();
        if this.ring.tx_memory() == Memory::Base && this.ring.is_followed() {
            Self::ask_to_shrink(this, Way::Out);
        }
    }

    fn ask_to_shrink(this: &Arc<Self>, way: Way) {
        let id = this.remote.id;
        if let Ok(exchange) = this.remote.exchange(Call::Shrink { id, way }) {
            let before = this.growth.sides.lock().side(way).stage;
            this.set_stage(way, GrowthStage::Shrinking);
            if Self::submit_if_open(this, &exchange).is_err() {
                // The extension is freed with the connection.
                this.set_stage(way, before);
            }
        }
    }

    /// Handles the response to SHRINK: the backend has unmapped the extension, or still needs it.
    fn shrunk(this: &Arc<Self>, way: Way, response: Result) {
        trace::resize(
            this.remote.id,
            way == Way::Out,
            this.ring.order().half_size(),
            response,
        );
        match (response, way) {
            (Err(EBUSY), Way::In) => {
                this.growth.sides.lock().side(way).quiet = 0;
                this.set_stage(way, GrowthStage::Large);
            }
            (Err(EBUSY), Way::Out) => this.set_stage(way, GrowthStage::Returning),
            // After any other error the backend no longer knows the connection.
            _ => {
                if response.is_ok() {
                    this.remote.link.counters.ring_shrunk();
                }
                this.set_stage(way, GrowthStage::Leaving);
                Self::leave(this, way);
                if way == Way::In && this.has_unread() {
                    this.wake_readers();
                }
            }
        }
    }

    /// Frees an extension that the backend has unmapped, once the frontend has no bytes in it
    /// either.
    fn leave(this: &Arc<Self>, way: Way) {
        let guard = match way {
            Way::In => this.rx.try_lock().map(|_rx| this.ring.take_extension(way)),
            Way::Out => this.tx.try_lock().map(|_tx| this.ring.take_extension(way)),
        };
        match guard {
            // Another task moves bytes, or the program has not read all bytes in the extension.
            None => return,
            Some(Ok(TakenExtension::InUse)) if way == Way::In && this.ring.is_leaving() => return,
            Some(Ok(TakenExtension::Removed(Some(extension)))) => extension.revoke(),
            // The backend still uses the extension, or was never allowed to.
            Some(_) => return Self::broken(this.as_arc_borrow()),
        }
        this.set_stage(way, GrowthStage::Small);
        let is_wanted = this.growth.sides.lock().side(way).wanted.is_some();
        if is_wanted {
            Self::grow_later(this);
        }
    }
}

impl WorkItem<GROWTH> for Conn {
    type Pointer = Arc<Conn>;

    fn run(this: Arc<Conn>) {
        let has_ended = this.growth.has_ended.lock();
        if !*has_ended {
            Way::ALL.iter().for_each(|way| Self::resize(&this, *way));
        }
    }
}
