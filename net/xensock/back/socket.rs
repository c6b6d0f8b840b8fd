// SPDX-License-Identifier: GPL-2.0

//! A socket of a guest: that of TCP, its options and its names.

use crate::{
    policy::Policy,
    proto::{
        option::{
            self,
            Kind,
            SockOpt,
            SOL_XS, //
        },
        rule::Transport,
        value::{
            Piece,
            Value,
            INT_LEN,
            MAX_LEN,
            NAME_LEN, //
        }, //
    }, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        kernel_socket::{
            Callbacks,
            KernelSocket,
            Tally, //
        }, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The value of an option, as it was when the guest began to read it.
struct Snapshot {
    level: u32,
    name: u32,
    value: KVec<u8>,
}

/// A socket of a guest.
///
/// It is closed when the last reference goes. Whoever takes it out of use ends its callbacks first;
/// a command may have a reference too, while it is performed.
#[pin_data]
pub(crate) struct Socket {
    tcp: KernelSocket,
    /// That was in force when the socket was made.
    policy: Arc<Policy>,
    /// Counts the sockets of the guest, those included that were closed and are not gone.
    tally: Arc<Tally>,
    domain: Domain,
    /// What was read last, if it does not fit into one response.
    #[pin]
    snapshot: Mutex<Option<Snapshot>>,
}

impl Socket {
    /// Makes a stream socket.
    pub(crate) fn stream(
        policy: Arc<Policy>,
        tally: Arc<Tally>,
        domain: Domain,
    ) -> Result<Arc<Self>> {
        let tcp = KernelSocket::stream(policy.namespace()?, domain)?;
        Self::new(tcp, policy, tally, domain)
    }

    fn new(
        mut tcp: KernelSocket,
        policy: Arc<Policy>,
        tally: Arc<Tally>,
        domain: Domain,
    ) -> Result<Arc<Self>> {
        tcp.count_in(&tally)?;
        Arc::pin_init(
            try_pin_init!(Self {
                tcp,
                policy,
                tally,
                domain,
                snapshot <- new_mutex!(None, "xensock_snapshot"),
            }),
            GFP_KERNEL,
        )
    }

    /// TCP's socket.
    pub(crate) fn tcp(&self) -> &KernelSocket {
        &self.tcp
    }

    /// Begins to connect, if the guest may: `EINPROGRESS`.
    pub(crate) fn connect(&self, addr: SocketAddr) -> Result {
        self.check_family(&addr)?;
        self.policy.may_connect(Transport::Tcp, &addr)?;
        self.tcp.connect(addr)
    }

    /// Binds to an address, if the guest may, and returns the one it has then.
    pub(crate) fn bind(&self, addr: SocketAddr) -> Result<SocketAddr> {
        self.check_family(&addr)?;
        self.policy.may_bind(Transport::Tcp, &addr)?;
        self.tcp.bind(addr)?;
        self.tcp.local_addr()
    }

    /// Whether it has a port, by [`Self::bind`].
    pub(crate) fn is_bound(&self) -> Result<bool> {
        Ok(self.tcp.local_addr()?.port() != 0)
    }

    /// Begins to listen. A socket that is not bound gets a port then, if the guest may have one.
    pub(crate) fn listen(&self, backlog: u32) -> Result {
        let addr = self.tcp.local_addr()?;
        if addr.port() == 0 {
            self.policy.may_bind(Transport::Tcp, &addr)?;
        }
        self.tcp.listen(i32::try_from(backlog)?)
    }

    fn check_family(&self, addr: &SocketAddr) -> Result {
        if Domain::from(addr) != self.domain {
            return Err(EAFNOSUPPORT);
        }
        Ok(())
    }

    /// Has `callbacks` called, until they are cleared or the socket is closed.
    pub(crate) fn set_callbacks<T: Callbacks + 'static>(&self, callbacks: T) -> Result {
        self.tcp.set_callbacks(Arc::new(callbacks, GFP_KERNEL)?)
    }

    /// Takes a connection that waits, with the address of its peer. `EAGAIN` if there is none.
    pub(crate) fn accept(&self) -> Result<(Arc<Self>, SocketAddr)> {
        let (tcp, peer) = self.tcp.accept()?;
        let socket = Self::new(tcp, self.policy.clone(), self.tally.clone(), self.domain)?;
        Ok((socket, peer))
    }

    /// Sets an option, if guests may.
    pub(crate) fn set_option(&self, level: u32, name: u32, value: &Value) -> Result {
        let option = option::may_set(level, name, value).map_err(from_number)?;
        // On the wire, numbers are little endian.
        let number = value.to_int().map(i32::to_ne_bytes);
        let value = match (option.kind, &number) {
            (Kind::Flag | Kind::Int { .. }, Some(number)) => number,
            _ => value.as_bytes(),
        };
        self.tcp
            .set_option(i32::try_from(level)?, i32::try_from(name)?, value)
    }

    /// Reads the piece of an option that begins at `offset`, if guests may.
    ///
    /// At 0 the option is read. The other pieces are from what was read then.
    pub(crate) fn option(&self, level: u32, name: u32, offset: u32) -> Result<Piece> {
        let option = option::may_get(level, name).map_err(from_number)?;
        let mut snapshot = self.snapshot.lock();
        if offset == 0 {
            // Given back before another is made.
            *snapshot = None;
            let value = self.read(option)?;
            let piece = Piece::of(&value, 0).ok_or(EINVAL);
            if value.len() > MAX_LEN {
                *snapshot = Some(Snapshot { level, name, value });
            }
            return piece;
        }
        match &*snapshot {
            Some(kept) if (kept.level, kept.name) == (level, name) => {
                Piece::of(&kept.value, offset).ok_or(EINVAL)
            }
            _ => Err(EINVAL),
        }
    }

    /// Reads an option in its form on the wire.
    fn read(&self, option: &SockOpt) -> Result<KVec<u8>> {
        let mut value = KVec::new();
        if option.level == SOL_XS {
            let unacked = u32::try_from(self.tcp.unacked_bytes())?;
            value.extend_from_slice(&unacked.to_le_bytes(), GFP_KERNEL)?;
            return Ok(value);
        }
        let room = match option.kind {
            Kind::Flag | Kind::Int { .. } => INT_LEN,
            Kind::Name => NAME_LEN,
            Kind::Struct(max) => max as usize,
        };
        value.resize(room, 0, GFP_KERNEL)?;
        let len = self.tcp.get_option(
            i32::try_from(option.level)?,
            i32::try_from(option.name)?,
            &mut value,
        )?;
        value.truncate(len);
        if let (Kind::Flag | Kind::Int { .. }, Ok(number)) =
            (option.kind, <[u8; INT_LEN]>::try_from(&*value))
        {
            value.copy_from_slice(&i32::from_ne_bytes(number).to_le_bytes());
        }
        Ok(value)
    }
}

/// The error of a positive number, as the protocol has it.
fn from_number(number: i32) -> Error {
    Error::from_errno(-number)
}
