// SPDX-License-Identifier: GPL-2.0

//! Sockets on the loopback device, with what the tests need to use and watch them.

use super::super::{
    Callbacks,
    KernelSocket,
    Locked,
    Protocol,
    Tcp,
    Udp, //
};

use crate::{
    bindings,
    bvec::BioVecs,
    net::{
        addr::Domain,
        namespace::Namespace, //
    },
    page::Page,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion, //
    }, //
};

use core::{
    net::{
        Ipv4Addr,
        SocketAddr, //
    },
    ptr::NonNull, //
};

/// Signals data, an error, or a number of state changes.
#[pin_data]
pub(super) struct Bells {
    #[pin]
    pub(super) data: Completion,
    #[pin]
    pub(super) error: Completion,
    #[pin]
    pub(super) state: Completion,
    state_changes_left: Atomic<isize>,
    pub(super) data_calls: Atomic<usize>,
}

impl Bells {
    fn new(state_changes: isize) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                data <- Completion::new(),
                error <- Completion::new(),
                state <- Completion::new(),
                state_changes_left: Atomic::new(state_changes),
                data_calls: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Sets new bells as the callbacks of `socket`.
    pub(super) fn on<P: Protocol>(
        socket: &KernelSocket<P>,
        state_changes: isize,
    ) -> Result<Arc<Self>> {
        let bells = Self::new(state_changes)?;
        socket.set_callbacks(bells.clone())?;
        Ok(bells)
    }
}

impl Callbacks for Bells {
    fn data_ready(&self, _tcp: Option<&Locked<'_>>) {
        self.data_calls.add(1, Relaxed);
        self.data.complete_all();
    }

    fn write_space(&self) {}

    fn state_change(&self) {
        if self.state_changes_left.fetch_add(-1, Relaxed) == 1 {
            self.state.complete_all();
        }
    }

    fn error_report(&self) {
        self.error.complete_all();
    }
}

/// A buffer for one transfer.
pub(super) struct Buffer(Page);

impl Buffer {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Page::alloc_page(GFP_KERNEL)?))
    }

    pub(super) fn vecs(&self, len: usize) -> Result<BioVecs<'_>> {
        let page = NonNull::new(self.0.as_ptr()).ok_or(ENOMEM)?;
        let mut vecs = BioVecs::new();

        // SAFETY: The page exists as long as `self` is borrowed, and there are no references to its
        // contents.
        if !unsafe { vecs.push(page, 100, len) } {
            return Err(EINVAL);
        }
        Ok(vecs)
    }

    pub(super) fn holds(&self, expected: &[u8]) -> Result<bool> {
        let mut bytes = [0; 64];
        let bytes = bytes.get_mut(..expected.len()).ok_or(EINVAL)?;

        self.vecs(expected.len())?
            .with_source(|source| source.copy_from_iter(bytes));
        Ok(bytes == expected)
    }

    /// Calls `f` with a vector of the given bytes.
    pub(super) fn with<R>(bytes: &[u8], f: impl FnOnce(&BioVecs<'_>) -> R) -> Result<R> {
        let buffer = Self::new()?;
        let vecs = buffer.vecs(bytes.len())?;

        vecs.with_dest(|dest| dest.copy_to_iter(bytes));
        Ok(f(&vecs))
    }
}

/// Brings the loopback device up: the tests run before user space can do so.
pub(super) fn bring_loopback_up() -> Result {
    // SAFETY: The initial namespace and its loopback device always exist.
    let err = unsafe {
        let dev = bindings::init_net.loopback_dev;
        let up = bindings::net_device_flags_IFF_UP;

        bindings::rtnl_lock();
        let err = bindings::dev_change_flags(dev, (*dev).flags | up, core::ptr::null_mut());
        bindings::rtnl_unlock();
        err
    };
    crate::error::to_result(err)
}

const ANY_PORT: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) fn stream() -> Result<KernelSocket<Tcp>> {
    KernelSocket::stream(Namespace::init(), Domain::Inet)
}

pub(super) fn datagram() -> Result<KernelSocket<Udp>> {
    let socket = KernelSocket::datagram(Namespace::init(), Domain::Inet)?;
    socket.bind(ANY_PORT)?;
    Ok(socket)
}

pub(super) fn listener() -> Result<KernelSocket<Tcp>> {
    bring_loopback_up()?;
    let listener = stream()?;
    listener.bind(ANY_PORT)?;
    listener.listen(8)?;
    Ok(listener)
}

/// Connects a new socket to the listener, and waits until that socket is connected.
pub(super) fn connect(listener: &KernelSocket<Tcp>) -> Result<KernelSocket<Tcp>> {
    let client = stream()?;
    let bells = Bells::on(&client, 1)?;

    match client.connect(listener.local_addr()?) {
        Ok(()) => (),
        Err(EINPROGRESS) => bells.state.wait_for_completion(),
        Err(err) => return Err(err),
    }
    client.clear_callbacks();
    Ok(client)
}

/// Returns a listener, a socket that has connected to it, and the accepted connection.
pub(super) fn pair() -> Result<(KernelSocket<Tcp>, KernelSocket<Tcp>, KernelSocket<Tcp>)> {
    let listener = listener()?;
    let bells = Bells::on(&listener, 0)?;
    let client = connect(&listener)?;

    bells.data.wait_for_completion();
    let (accepted, _) = listener.accept()?;
    Ok((listener, client, accepted))
}

/// Calls `f` until there is something to receive. The socket must not have callbacks.
pub(super) fn when_ready<P: Protocol, R>(
    socket: &KernelSocket<P>,
    mut f: impl FnMut() -> Result<R>,
) -> Result<R> {
    loop {
        let bells = Bells::on(socket, 0)?;
        let result = f();

        if matches!(result, Err(EAGAIN)) {
            bells.data.wait_for_completion();
        }
        socket.clear_callbacks();
        if !matches!(result, Err(EAGAIN)) {
            return result;
        }
    }
}

/// Receives data, once there is some, and compares it with `expected`. The socket must not have
/// callbacks.
pub(super) fn expect(socket: &KernelSocket<Tcp>, expected: &[u8]) -> Result<bool> {
    let buffer = Buffer::new()?;
    let vecs = buffer.vecs(64)?;
    let len = when_ready(socket, || socket.recv(&vecs))?;

    Ok(len == expected.len() && buffer.holds(expected)?)
}
