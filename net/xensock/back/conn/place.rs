// SPDX-License-Identifier: GPL-2.0

//! A place for a connection: made by an ACCEPT, filled by a listener.

use super::Conn;
use crate::{
    byte_stream::ByteStream,
    conn_ring::ConnRing,
    fast_path::FastPath,
    guest::Guest,
    outcome_report::OutcomeReport,
    owners::Tenant,
    proto::RingRef,
    pump::{
        Pump,
        PumpState,
        Waker, //
    },
    socket::GuestSocket, //
};
use core::mem::MaybeUninit;
use kernel::{
    net::kernel_socket::{
        CallbacksPlace,
        Tcp, //
    },
    prelude::*,
    sync::{
        Arc,
        UniqueArc, //
    },
    xen::trace::xensock_back as trace, //
};

/// The state of a posted ACCEPT: a listener will find a connection. The data are in
/// [`Conn::place`].
pub(crate) struct Posted;

/// A registry of a guest's connections by their ids.
pub(crate) trait Registry: Send + Sync {
    /// Removes a place for a connection, unless the guest has given the id to another socket.
    fn forget(&self, id: u64, conn: &Conn);
}

/// The data of an ACCEPT, for the connection that a listener will find.
pub(super) struct AcceptPlace {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) shared: Arc<ConnRing>,
    pub(super) completion: OutcomeReport,
    /// Set while the guest is told that connections wait, see [`Conn::set_waiting`].
    shows_waiting: bool,
}

/// The memory for the objects of a connection.
type Room = (
    UniqueArc<MaybeUninit<FastPath>>,
    CallbacksPlace<Waker<Conn>>,
);

impl Conn {
    /// Makes a place for a connection that a listener of that tenant will accept.
    pub(crate) fn post(
        guest: &Arc<Guest>,
        registry: Arc<dyn Registry>,
        id: u64,
        ring: RingRef,
        tenant: &Tenant,
        completion: OutcomeReport,
    ) -> Result<Arc<Self>> {
        let conn = Self::new(guest, id)?;
        let shared = guest.ring_for(ring, conn.clone(), tenant)?;
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

    /// Shows in a place made by [`Self::post`] if connections wait that have no place. Returns
    /// `true` if that has changed. Any context.
    pub(crate) fn set_waiting(&self, waits: bool) -> bool {
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

    /// Notifies the guest about a place made by [`Self::post`]. Any context.
    pub(crate) fn notify(&self) {
        if let Some(place) = &*self.place.lock() {
            place.shared.notifier.notify();
        }
    }

    /// Accepts a connection of `listener` into the place made by [`Self::post`], unless the guest
    /// has given the place up. `EAGAIN` if no connection waits. Calls `before` when the connection
    /// has left TCP's queue and the guest does not see it yet.
    pub(crate) fn fill(
        self: &Arc<Self>,
        listener: &GuestSocket<Tcp>,
        before: impl FnOnce(),
    ) -> Result {
        let mut state = self.pump.state.lock();
        if !matches!(*state, PumpState::Idle(Posted)) || self.pump.is_ending() {
            return Ok(());
        }
        // The connection could not go back to TCP's queue, so all memory for it is there before it
        // leaves.
        let room = (FastPath::place()?, CallbacksPlace::new()?);
        let (socket, peer) = listener.accept()?;
        let path = self
            .path_in_place(&socket, room)
            .inspect_err(|_| socket.tcp().set_linger_abort())?;
        before();
        let place = self.place.lock().take();
        if let Some(place) = place {
            // The guest may send commands as soon as it is told.
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
        // For events before the callbacks were set.
        self.wake();
        Ok(())
    }

    /// Connects the events of `socket` to this place, made by [`Self::post`]. The place stays. Fails
    /// only if BPF uses the socket.
    fn path_in_place(
        self: &Arc<Self>,
        socket: &Arc<GuestSocket<Tcp>>,
        (path, callbacks): Room,
    ) -> Result<Arc<FastPath>> {
        let shared = self.place.lock().as_ref().map(|place| place.shared.clone());
        let shared = shared.ok_or(ECONNABORTED)?;
        let path = FastPath::put(path, self.guest(), socket.clone(), shared);
        let waker = Waker::new(self, path.clone());
        socket.tcp().set_callbacks_in(callbacks, waker)?;
        Ok(path)
    }

    /// Ends a posted place that is not filled. Tells the guest `error`, or nothing if it is `None`.
    pub(crate) fn cancel(&self, error: Option<Error>) {
        // Held to the end: the work item answers RELEASE, and must not do so before this is done.
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
            Some(error) => drop(self.destroy(PumpState::Idle(Posted), true, error)),
        }
    }
}
