// SPDX-License-Identifier: GPL-2.0

//! The two directions of a connection: between the data ring and the TCP socket.
//!
//! Each byte is copied once, by TCP, from or to the pages of the ring.

use crate::{
    active::Active,
    guest::Guest,
    proto::{
        errno::Ending,
        ring::Violation,
        Response, //
    },
    ring::DataRing, //
};
use kernel::{
    net::{
        kernel_socket::KernelSocket,
        sock::TcpState, //
    },
    prelude::*,
    sync::Arc,
    xen::{
        event::EventChannel,
        grant::MappedPages, //
    }, //
};

/// How often both directions are gone through before other work has its turn.
const BUDGET: u32 = 32;

/// What became of a connection's turn.
pub(crate) enum Outcome {
    /// There is nothing to do until an event or a callback says so.
    Idle,
    /// There is more to do.
    Busy,
    /// CONNECT has failed.
    Refused(Response, Error),
}

/// Pages that a guest has mapped for a ring.
pub(crate) struct Charge {
    guest: Arc<Guest>,
    pages: usize,
}

impl Charge {
    /// Takes pages from the guest's quota: `ENOBUFS` beyond it.
    pub(crate) fn new(guest: &Arc<Guest>, pages: usize) -> Result<Self> {
        guest.charge(pages)?;
        Ok(Self {
            guest: guest.clone(),
            pages,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.guest.uncharge(self.pages);
    }
}

/// All that a connection shares with the guest and with TCP.
///
/// Dropped in this order: no more events, no more callbacks, the end of the TCP connection, and
/// last the memory of the guest. Dropping sleeps.
pub(crate) struct Io {
    channel: EventChannel<Active>,
    socket: KernelSocket,
    ring: DataRing<MappedPages>,
    _charge: Charge,
    /// CONNECT, until it is answered.
    connecting: Option<Response>,
    /// Why the connection has failed.
    failure: Option<Error>,
    has_ended_in: bool,
    has_ended_out: bool,
    /// The guest's indexes when it was last let send an event.
    seen: (u32, u32),
}

impl Io {
    pub(crate) fn new(
        channel: EventChannel<Active>,
        socket: KernelSocket,
        ring: DataRing<MappedPages>,
        charge: Charge,
        connecting: Response,
    ) -> Self {
        Self {
            channel,
            socket,
            ring,
            _charge: charge,
            connecting: Some(connecting),
            failure: None,
            has_ended_in: false,
            has_ended_out: false,
            seen: (0, 0),
        }
    }

    /// Has the end of the TCP connection be a reset.
    pub(crate) fn abort(&self) {
        self.socket.set_linger_abort();
    }

    /// CONNECT, if it was not answered.
    pub(crate) fn take_connecting(&mut self) -> Option<Response> {
        self.connecting.take()
    }

    /// The guest's indexes.
    pub(crate) fn indexes(&self) -> (u32, u32) {
        (self.ring.arrived(), self.ring.taken())
    }

    /// Lets the guest send the next event, later if the last was for nothing: if its indexes, when
    /// the turn began, were those of the last time.
    pub(crate) fn eoi(&mut self, indexes: (u32, u32)) {
        self.channel.eoi(indexes == self.seen);
        self.seen = indexes;
    }

    /// Moves what can be moved.
    pub(crate) fn progress(&mut self, guest: &Guest) -> Result<Outcome, Violation> {
        if let Some(ticket) = self.connecting {
            match self.socket.tcp_state() {
                TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv => {
                    return Ok(Outcome::Idle);
                }
                TcpState::Close => {
                    let error = self.socket.take_error().unwrap_or(ECONNREFUSED);
                    return Ok(Outcome::Refused(ticket, error));
                }
                _ => {
                    self.connecting = None;
                    guest.answer(ticket, Ok(()), self.socket.local_addr().ok());
                }
            }
        }
        // A reset that neither direction would run into now, being full or empty.
        if let Some(error) = self.socket.take_error() {
            self.fail(error);
        }
        for _ in 0..BUDGET {
            let has_received = self.receive()?;
            let has_sent = self.transmit()?;
            if !has_received && !has_sent {
                self.end_out();
                return Ok(Outcome::Idle);
            }
        }
        Ok(Outcome::Busy)
    }

    /// Moves bytes from the socket to `in`. Returns whether there may be more.
    fn receive(&mut self) -> Result<bool, Violation> {
        if self.has_ended_in {
            return Ok(false);
        }
        let mut room = self.ring.writable()?;
        if room == 0 {
            self.ring.expect_room(self.ring.size() / 4);
            room = self.ring.writable()?;
            if room == 0 {
                return Ok(false);
            }
        }
        match self.socket.recv(&self.ring.writable_bvecs(room)) {
            Ok(0) => self.end_in(),
            Ok(n) => {
                // CAST: No more than `room`.
                if self.ring.produce(n as u32) {
                    self.channel.notify();
                }
                return Ok(true);
            }
            Err(EAGAIN) => (),
            Err(error) => {
                self.fail(error);
                self.end_in();
            }
        }
        Ok(false)
    }

    /// Moves bytes from `out` to the socket. Returns whether there may be more.
    fn transmit(&mut self) -> Result<bool, Violation> {
        if self.failure.is_some() {
            return Ok(false);
        }
        let mut len = self.ring.readable()?;
        if len == 0 {
            self.ring.expect_data();
            len = self.ring.readable()?;
            if len == 0 {
                return Ok(false);
            }
        }
        match self.socket.send(&self.ring.readable_bvecs(len)) {
            Ok(n) => {
                // CAST: No more than `len`.
                if self.ring.consume(n as u32) {
                    self.channel.notify();
                }
                return Ok(n > 0);
            }
            Err(EAGAIN) => (),
            Err(error) => self.fail(error),
        }
        Ok(false)
    }

    /// The connection has failed, for the reason that counts: the first.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Tells the guest that it can send nothing more, once that is so.
    ///
    /// Comes after what was received, as far as there was room for it: whoever learns of a reset
    /// here finds it there too.
    fn end_out(&mut self) {
        if let Some(error) = self.failure.filter(|_| !self.has_ended_out) {
            self.has_ended_out = true;
            self.ring.end_rx(Ending::Failed(-error.to_errno()));
            self.channel.notify();
        }
    }

    /// The peer will send nothing more, and all that it has sent is in the ring.
    fn end_in(&mut self) {
        self.has_ended_in = true;
        self.ring.end_tx(match self.failure {
            None => Ending::Orderly,
            Some(error) => Ending::Failed(-error.to_errno()),
        });
        self.channel.notify();
    }
}
