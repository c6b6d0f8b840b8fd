// SPDX-License-Identifier: GPL-2.0

//! The two directions of a datagram socket: between the frames in the data ring and UDP.
//!
//! UDP copies the bytes of a datagram once, from or to the pages of the ring.

use crate::{
    conn_ring::ConnRing,
    guest::Guest,
    policy::Policy,
    proto::{
        control,
        frame::{
            max_payload,
            payload_at,
            BadFrame,
            Frame,
            HEADER, //
        },
        info::{
            self,
            BadInfo,
            Info, //
        },
        report,
        ring::Violation,
        Feature, //
    },
    socket::GuestSocket, //
};
use core::{
    cell::Cell,
    net::SocketAddr, //
};
use kernel::{
    bvec::BioVecs,
    net::{
        kernel_socket::Udp,
        msghdr::ControlBuf, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    }, //
};

/// Maximum number of passes over both directions before other work has its turn.
const BUDGET: u32 = 32;

/// The end of a header.
const HEADER_END: u32 = payload_at(false);

/// Drops datagrams that have arrived for a socket without a ring. Returns `true` if there may be
/// more.
///
/// Otherwise UDP would keep them, in the memory that it has for all sockets.
pub(crate) fn discard(socket: &GuestSocket<Udp>) -> bool {
    let has_more = (0..BUDGET).all(|_| match socket.udp().recv_from(&BioVecs::new()) {
        Ok(_) => {
            socket.udp().count_drop();
            true
        }
        // Other errors are those of the network, and are consumed by this.
        Err(error) => error != EAGAIN,
    });
    socket.update_memory();
    has_more
}

/// The guest broke the rules: the beginning of the next frame is not known.
pub(crate) struct Broken;

impl From<Violation> for Broken {
    fn from(_: Violation) -> Self {
        Self
    }
}

impl From<BadFrame> for Broken {
    fn from(_: BadFrame) -> Self {
        Self
    }
}

impl From<BadInfo> for Broken {
    fn from(_: BadInfo) -> Self {
        Self
    }
}

/// A datagram socket with a ring. Its fields are dropped in order: the socket, then the ring.
/// Dropping sleeps.
pub(crate) struct Frames {
    socket: Arc<GuestSocket<Udp>>,
    shared: ConnRing,
    /// The error of the last report sent to the guest.
    last_reported: Cell<Option<Error>>,
}

impl Frames {
    /// Creates the frames of a socket that has callbacks.
    pub(crate) fn new(socket: Arc<GuestSocket<Udp>>, shared: ConnRing) -> Self {
        let last_reported = Cell::new(None);
        Self {
            socket,
            shared,
            last_reported,
        }
    }

    /// Returns the ring that the socket shares with the guest.
    pub(crate) fn shared(&self) -> &ConnRing {
        &self.shared
    }

    /// Moves as many datagrams as possible. Returns `true` if there may be more. Sets `wants_room`
    /// if UDP has no room for the next datagram.
    pub(crate) fn progress(
        &mut self,
        guest: &Guest,
        wants_room: &Atomic<bool>,
    ) -> Result<bool, Broken> {
        let result = self.move_some(guest, wants_room);
        self.socket.update_memory();
        result
    }

    fn move_some(&self, guest: &Guest, wants_room: &Atomic<bool>) -> Result<bool, Broken> {
        let policy = guest.policy();
        for _ in 0..BUDGET {
            self.shared.begin_pass();
            let has_received = self.receive()?;
            let has_sent = self.transmit(guest, &policy, wants_room)?;
            if !has_received && !has_sent {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves the errors and one datagram from the socket to `in`, or drops them for lack of room.
    /// Returns `true` if there was anything.
    ///
    /// With errors all the time, datagrams must be received all the same.
    fn receive(&self) -> Result<bool, Broken> {
        let had_errors = self.receive_errors()?;
        let udp = self.socket.udp();
        let ring = &self.shared.ring;
        let room = ring.writable()?;
        let has_info = self.socket.wants_info();
        let (begin, most) = (payload_at(has_info), max_payload(room, has_info));
        let mut controls = has_info.then(ControlBuf::new);
        let received = ring.with_writable(begin, most, |vecs| match &mut controls {
            Some(controls) => udp.recv_with(vecs, controls),
            None => udp.recv_from(vecs),
        });
        match received {
            Ok(datagram) => {
                let frame = Frame::Data {
                    // A length that does not fit into `u32` does not fit into the ring either.
                    len: u32::try_from(datagram.len).unwrap_or(u32::MAX),
                    addr: Some(datagram.from),
                    has_info,
                };
                let info = controls.map(|controls| {
                    let messages = controls.iter().flatten();
                    let messages = messages.map(|c| (c.level, c.kind, c.data));
                    control::info_from_linux(messages, self.socket.is_ipv6())
                });
                self.produce(&frame, info.map(|info| info.encode()).as_ref(), room);
                Ok(true)
            }
            Err(EAGAIN) => Ok(had_errors),
            Err(error) => {
                self.report(error)?;
                Ok(true)
            }
        }
    }

    /// Moves the errors of the socket to `in`: first the reports, up to [`BUDGET`], then the
    /// pending error. Returns `true` if there were any.
    ///
    /// UDP makes the error of the next report the pending one, and returns it instead of sending.
    fn receive_errors(&self) -> Result<bool, Broken> {
        let mut reports = 0;
        while self.socket.wants_reports() && self.receive_report()? {
            reports += 1;
            if reports == BUDGET {
                return Ok(true);
            }
        }
        match self.socket.udp().take_error() {
            Some(error) => self.report_earlier(error)?,
            None => return Ok(reports > 0),
        }
        Ok(true)
    }

    /// Moves one report of an error from the socket to `in`, or drops it for lack of room. Returns
    /// `true` if there was one.
    fn receive_report(&self) -> Result<bool, Broken> {
        let ring = &self.shared.ring;
        let room = ring.writable()?;
        let most = max_payload(room, true).min(report::MAX_PAYLOAD);
        let mut controls = ControlBuf::new();
        let udp = self.socket.udp();
        let received = ring.with_writable(payload_at(true), most, |vecs| {
            udp.recv_error(vecs, &mut controls)
        });
        let Ok(datagram) = received else {
            return Ok(false);
        };
        let is_ipv6 = self.socket.is_ipv6();
        let mut messages = controls.iter().flatten();
        let report =
            messages.find_map(|c| control::report_from_linux((c.level, c.kind, c.data), is_ipv6));
        if let Some(report) = report {
            self.last_reported
                .set(Some(Error::from_errno(-report.errno)));
            let frame = Frame::Report {
                // CAST: No more than there was room for.
                len: datagram.copied as u32,
                addr: Some(datagram.from),
            };
            self.produce(&frame, Some(&report.encode()), room);
        }
        Ok(true)
    }

    /// Moves one datagram from `out` to the socket. Returns `true` if there may be more.
    fn transmit(
        &self,
        guest: &Guest,
        policy: &Policy,
        wants_room: &Atomic<bool>,
    ) -> Result<bool, Broken> {
        let ring = &self.shared.ring;
        let queued = ring.readable_or_ask()?;
        if queued == 0 {
            return Ok(false);
        }
        let mut header = [0; HEADER];
        if queued < HEADER_END || ring.read(0, &mut header).is_err() {
            return Err(Broken);
        }
        let (frame, total) = Frame::decode(&header, queued)?;
        let Frame::Data {
            len,
            addr,
            has_info,
        } = frame
        else {
            return Err(Broken);
        };
        let mut info = None;
        if has_info {
            let mut block = [0; info::LEN];
            if !guest.transport.has(Feature::Info) || ring.read(HEADER_END, &mut block).is_err() {
                return Err(Broken);
            }
            info = Some(Info::decode(&block)?);
        }
        let mut earlier = None;
        let sent = if self.socket.must_wait() {
            Err(EAGAIN)
        } else if self.socket.must_drop() {
            guest.counters.count_datagram_drop();
            Ok(())
        } else {
            self.send(policy, len, addr, info.as_ref(), &mut earlier)
        };
        if let Some(error) = earlier {
            self.receive_errors()?;
            self.report_earlier(error)?;
        }
        match sent {
            // Another error of the same number is a new one.
            Ok(()) => self.last_reported.set(None),
            // The first time, the caller tries again: room may have appeared before `wants_room`
            // was set.
            Err(EAGAIN) => return Ok(!wants_room.xchg(true, Full)),
            Err(error) => self.report(error)?,
        }
        if ring.consume(total) {
            self.shared.notifier.notify();
        }
        Ok(true)
    }

    /// Sends the first datagram of `out`. Stores an error of an earlier one in `earlier`.
    fn send(
        &self,
        policy: &Policy,
        len: u32,
        addr: Option<SocketAddr>,
        info: Option<&Info>,
        earlier: &mut Option<Error>,
    ) -> Result {
        policy.may_send(len as usize)?;
        let begin = payload_at(info.is_some());
        self.shared.ring.with_readable(begin, len, |payload| {
            if payload.len_bytes() != len as usize {
                return Err(EMSGSIZE);
            }
            self.socket.send(payload, addr, info, earlier)
        })
    }

    /// Puts the error of an earlier datagram into `in`, unless that was reported. UDP sets the
    /// error after it has queued the report.
    fn report_earlier(&self, error: Error) -> Result<(), Violation> {
        match self.last_reported.replace(None) {
            Some(reported) if reported == error => Ok(()),
            _ => self.report(error),
        }
    }

    /// Puts an error into `in`.
    fn report(&self, error: Error) -> Result<(), Violation> {
        let room = self.shared.ring.writable()?;
        self.produce(&Frame::Error(-error.to_errno()), None, room);
        Ok(())
    }

    /// Completes a frame in `in`, whose payload is already in the room, and produces it. Drops the
    /// frame if there is not enough room.
    fn produce(&self, frame: &Frame, block: Option<&[u8; info::LEN]>, room: u32) {
        let ring = &self.shared.ring;
        let is_put = || {
            let has_block = block.is_none_or(|block| ring.write(HEADER_END, block).is_ok());
            has_block && ring.write(0, &frame.encode()).is_ok()
        };
        match frame.total_len() {
            Some(total) if total <= room && is_put() => {
                if ring.produce(total) {
                    self.shared.notifier.notify();
                }
            }
            _ => self.socket.udp().count_drop(),
        }
    }
}
