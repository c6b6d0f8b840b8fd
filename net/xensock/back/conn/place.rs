// SPDX-License-Identifier: GPL-2.0

//! A place for a connection: what an ACCEPT has brought, and what a listener does with it.

use super::Conn;
use crate::{
    byte_stream::ByteStream,
    conn_ring::ConnRing,
    fast_path::FastPath,
    guest::Guest,
    outcome_report::OutcomeReport,
    proto::RingRef,
    pump::{
        Pump,
        PumpState,
        Waker, //
    },
    socket::GuestSocket, //
};
use kernel::{
    net::kernel_socket::Tcp,
    prelude::*,
    sync::Arc,
    xen::trace::xensock_back as trace, //
};

/// Asked for by ACCEPT: a listener will find a connection. The rest is in [`Conn::place`].
pub(crate) struct Posted;

/// Who knows the connections of a guest by their ids.
pub(crate) trait Registry: Send + Sync {
    /// Takes out a place for a connection, unless the guest has given the id to something else.
    fn forget(&self, id: u64, conn: &Conn);
}

/// What an ACCEPT has brought, for the connection that will be found.
pub(super) struct AcceptPlace {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) shared: Arc<ConnRing>,
    pub(super) completion: OutcomeReport,
    /// The guest was told that connections wait, see [`Conn::show`].
    shows_waiting: bool,
}

impl Conn {
    /// Makes a place for a connection that a listener will accept.
    pub(crate) fn post(
        guest: &Arc<Guest>,
        registry: Arc<dyn Registry>,
        id: u64,
        ring: RingRef,
        completion: OutcomeReport,
    ) -> Result<Arc<Self>> {
        let conn = Self::new(guest, id)?;
        let shared = guest.ring_for(ring, conn.clone())?;
        *conn.place.lock() = Some(AcceptPlace {
            registry,
            shared,
            completion,
            shows_waiting: false,
        });
        *conn.pump.state.lock() = PumpState::Idle(Posted);
        // For an event that came before.
        conn.wake();
        Ok(conn)
    }

    /// Says in a place made by [`Self::post`] whether connections wait for which there is none.
    /// Returns whether it said otherwise before. Any context.
    pub(crate) fn show(&self, waits: bool) -> bool {
        let mut place = self.place.lock();
        let Some(place) = &mut *place else {
            return false;
        };
        if place.shows_waiting == waits {
            return false;
        }
        place.shows_waiting = waits;
        place.shared.ring.set_waiting(waits);
        true
    }

    /// Tells the guest to look at a place made by [`Self::post`]. Any context.
    pub(crate) fn notify(&self) {
        if let Some(place) = &*self.place.lock() {
            place.shared.notifier.notify();
        }
    }

    /// Accepts a connection of `listener` into the place made by [`Self::post`], unless the guest
    /// has given that up. `EAGAIN` if no connection waits. `before` is done when the connection has
    /// left TCP's queue and the guest does not see it yet.
    pub(crate) fn fill(
        self: &Arc<Self>,
        listener: &GuestSocket<Tcp>,
        before: impl FnOnce(),
    ) -> Result {
        let mut state = self.pump.state.lock();
        if !matches!(*state, PumpState::Idle(Posted)) || self.pump.is_ending() {
            return Ok(());
        }
        let (socket, peer) = listener.accept()?;
        let path = self
            .path_in_place(&socket)
            .inspect_err(|_| socket.tcp().set_linger_abort())?;
        before();
        let place = self.place.lock().take();
        if let Some(place) = place {
            // Commands may follow as soon as the guest is told.
            *self.path.lock() = Some(path.clone());
            let to = self.guest().transport.peer();
            trace::accept(to, self.id, || socket.local_addr().ok(), peer);
            if place
                .completion
                .succeed(&self.guest().transport, &path.shared, peer)
            {
                path.shared.notifier.notify();
            }
            *state = PumpState::Open(ByteStream::new(self.guest(), self.id, path, None));
        }
        // For what happened before the callbacks were there.
        self.wake();
        Ok(())
    }

    /// Has the events of `socket` concern this place, made by [`Self::post`], which stays.
    fn path_in_place(self: &Arc<Self>, socket: &Arc<GuestSocket<Tcp>>) -> Result<Arc<FastPath>> {
        let shared = self.place.lock().as_ref().map(|place| place.shared.clone());
        let path = FastPath::new(self.guest(), socket.clone(), shared.ok_or(ECONNABORTED)?)?;
        socket.set_callbacks(Waker::new(self, path.clone()))?;
        Ok(path)
    }

    /// Ends what was posted and is not filled. The guest is told `error`, or with none nothing.
    pub(crate) fn cancel(&self, error: Option<Error>) {
        // Held to the end: RELEASE is answered by the work item, and not before this.
        let mut state = self.pump.state.lock();
        if !matches!(*state, PumpState::Idle(Posted)) {
            return;
        }
        *state = PumpState::Gone;
        match error {
            None => {
                let place = self.place.lock().take();
                if let Some(place) = place {
                    place.registry.forget(self.id, self);
                }
            }
            Some(error) => drop(self.part(PumpState::Idle(Posted), true, error)),
        }
    }
}
