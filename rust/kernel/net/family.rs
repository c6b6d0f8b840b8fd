// SPDX-License-Identifier: GPL-2.0

//! Protocol families.
//!
//! A family is what `socket(2)` takes as its first argument. It consists of a [`Proto`], which knows
//! how large a socket is; of the operations that programs can perform on a socket, the trait
//! [`Ops`]; and of a [`Registration`] that makes the rest of the kernel find it.
//!
//! Each of its sockets is a [`TypedSock`]: the kernel's `struct sock`, with data of the family's own
//! behind it. Its life is this:
//!
//! 1. [`Ops::create`] returns an initialiser for the data. A program has a file now, through which
//!    all other operations come, any number of them at the same time.
//! 2. [`Ops::release`] is the last of them. After it the socket is an orphan: it belongs to no file.
//! 3. The data are dropped together with the last reference (there may be more than the file's:
//!    [`ARef<TypedSock<T>>`](ARef)). That can be in a soft interrupt, where nothing may sleep, so
//!    whatever sleeps has to be done in [`Ops::release`].
//!
//! A module is not unloaded before the last of the sockets of its families is gone.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    module::this_module,
    net::{
        addr::{
            RawAddr,
            SockAddrBuf, //
        },
        msghdr::MsgHdr,
        namespace::Namespace,
        sock::Sock,
        socket::{
            How,
            Socket,
            SocketState, //
        },
    },
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Atomic,
            Full,
            Release, //
        },
    },
    types::Opaque,
    uaccess::UserPtr, //
};

use core::{
    marker::PhantomData,
    net::SocketAddr,
    ops::Deref,
    ptr::{
        addr_of_mut,
        NonNull, //
    },
};

// What `poll` answers with. `rust/helpers/net/socket.c` checks the values.

/// There are data to read, or a connection to accept, or nothing more will ever come.
pub const EPOLLIN: u32 = 0x0001;
/// There are urgent data to read.
pub const EPOLLPRI: u32 = 0x0002;
/// There is room to write.
pub const EPOLLOUT: u32 = 0x0004;
/// There is an error pending.
pub const EPOLLERR: u32 = 0x0008;
/// Both directions are shut down.
pub const EPOLLHUP: u32 = 0x0010;
/// There are normal data to read.
pub const EPOLLRDNORM: u32 = 0x0040;
/// There are priority data to read.
pub const EPOLLRDBAND: u32 = 0x0080;
/// There is room to write normal data.
pub const EPOLLWRNORM: u32 = 0x0100;
/// There is room to write priority data.
pub const EPOLLWRBAND: u32 = 0x0200;
/// The peer has shut down its sending side.
pub const EPOLLRDHUP: u32 = 0x2000;

/// A socket of a family, with the data that the family keeps for it.
///
/// # Invariants
///
/// - The object was allocated by `sk_alloc` with a [`Proto`] that has its size, so that all of it
///   belongs to `sk` and is freed with it.
/// - Both fields are initialised, and `data` does not move until it is dropped by `sk_destruct`.
/// - The invariants of [`Sock`] hold for `sk`.
#[repr(C)]
pub struct TypedSock<T> {
    sk: Sock,
    data: T,
}

impl<T> TypedSock<T> {
    /// Returns the data of the family.
    #[inline]
    pub fn data(&self) -> Pin<&T> {
        // SAFETY: By the type invariants the data do not move.
        unsafe { Pin::new_unchecked(&self.data) }
    }

    /// # Safety
    ///
    /// `sk` must point to an object that fulfils the type invariants for as long as `'a`.
    #[inline]
    unsafe fn from_raw<'a>(sk: *mut bindings::sock) -> &'a Self {
        // SAFETY: This is required of the caller.
        unsafe { &*sk.cast() }
    }
}

impl<T> Deref for TypedSock<T> {
    type Target = Sock;

    #[inline]
    fn deref(&self) -> &Sock {
        &self.sk
    }
}

// SAFETY: The reference count is that of the `struct sock` at the beginning, which is valid by the
// type invariants and takes the data along when it is freed.
unsafe impl<T> AlwaysRefCounted for TypedSock<T> {
    #[inline]
    fn inc_ref(&self) {
        self.sk.inc_ref();
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: `Sock` is the first field of this `repr(C)` type, and the requirements are the
        // same.
        unsafe { Sock::dec_ref(obj.cast()) };
    }
}

/// A socket that does not belong to any file yet: what [`Ops::accept`] has to return.
///
/// If it is dropped instead then the socket is freed, without a call of [`Ops::release`].
///
/// # Invariants
///
/// The socket has no `struct socket`, and has never had one.
pub struct Child<T>(ARef<TypedSock<T>>);

impl<T: Send + Sync + 'static> Child<T> {
    /// Creates a socket like `parent`, in the same network namespace.
    ///
    /// Process context.
    pub fn new<O: Ops<Data = T>>(
        parent: &TypedSock<T>,
        init: impl PinInit<T, Error>,
    ) -> Result<Self> {
        let parent = parent.as_raw();

        // SAFETY:
        // - `parent` is a valid socket, and keeps its network namespace.
        // - There is no `struct socket`.
        let sk = unsafe {
            alloc::<O>(
                bindings::sock_net(parent),
                core::ptr::null_mut(),
                c_int::from((*parent).sk_protocol),
                bindings::sock_common::skc_net_refcnt_raw(&raw const (*parent).__sk_common) == 0,
                init,
            )
        }?;

        // SAFETY: Nobody else knows of the new socket.
        unsafe { (*sk.as_ptr()).sk_type = (*parent).sk_type };

        // SAFETY: `alloc` has returned a complete socket with one reference, which is handed over.
        //
        // INVARIANT: It was allocated without any `struct socket`.
        Ok(Self(unsafe { ARef::from_raw(sk.cast()) }))
    }
}

impl<T> Deref for Child<T> {
    type Target = ARef<TypedSock<T>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What the kernel has to know in order to allocate the sockets of a family.
///
/// Wraps the kernel's `struct proto`. There is one for each type that implements [`Ops`], in a
/// `static`, and [`Ops::proto`] returns it.
///
/// # Invariants
///
/// `obj_size` is the size of a [`TypedSock`] with the data of `T`, and `owner` the module that `T`
/// is part of. No cache is used: `slab` is null.
pub struct Proto<T: Ops> {
    proto: Opaque<bindings::proto>,
    registered: Atomic<bool>,
    _ops: PhantomData<fn() -> T>,
}

impl<T: Ops> Proto<T> {
    /// Creates a `Proto`; `name` is what `/proc/net/protocols` shows.
    ///
    /// To be used in constants. Will panic if the name has more than 31 characters.
    pub const fn new(name: &CStr) -> Self {
        let size = size_of::<TypedSock<T::Data>>();
        assert!(
            size <= u32::MAX as usize,
            "the data of a socket are too large"
        );

        let mut proto = bindings::proto {
            owner: this_module::<T::OwnerModule>().as_ptr(),
            obj_size: size as u32,
            ..pin_init::zeroed()
        };

        let name = name.to_bytes_with_nul();
        assert!(
            name.len() <= proto.name.len(),
            "the name of a protocol is too long"
        );
        let mut i = 0;
        while i < name.len() {
            proto.name[i] = name[i];
            i += 1;
        }

        // INVARIANT: Size and owner were set just now, the rest of it is zero.
        Self {
            proto: Opaque::new(proto),
            registered: Atomic::new(false),
            _ops: PhantomData,
        }
    }

    fn as_raw(&self) -> *mut bindings::proto {
        self.proto.get()
    }
}

// SAFETY: The `struct proto` is only given to C code, which guards what it changes by locks of its
// own. `registered` is atomic.
unsafe impl<T: Ops> Sync for Proto<T> {}

/// The operations of a protocol family.
///
/// Any number of operations may run at the same time on the same socket, except that
/// [`Ops::release`] is alone. All are called in process context and may sleep; none is called with
/// the socket's lock held. What is not implemented fails with `EOPNOTSUPP`, as do socket options
/// beyond those of `SOL_SOCKET`, which the kernel handles itself.
///
/// # Examples
///
/// A family whose sockets swallow all that is sent to them:
///
/// ```
/// use kernel::{
///     net::{
///         family::{
///             Ops,
///             Proto,
///             TypedSock, //
///         },
///         msghdr::MsgHdr,
///         socket::{
///             Socket,
///             SOCK_STREAM, //
///         },
///     },
///     prelude::*,
///     sync::atomic::{
///         Atomic,
///         Relaxed, //
///     },
/// };
///
/// struct Swallow;
///
/// struct Swallowed {
///     bytes: Atomic<usize>,
/// }
///
/// static PROTO: Proto<Swallow> = Proto::new(c"SWALLOW");
///
/// #[vtable]
/// impl Ops for Swallow {
///     const FAMILY: i32 = 45;
///     type Data = Swallowed;
///
///     fn proto() -> &'static Proto<Self> {
///         &PROTO
///     }
///
///     fn create(
///         _net: &Namespace,
///         socket: &Socket,
///         protocol: i32,
///     ) -> Result<impl PinInit<Self::Data, Error>> {
///         if socket.kind() != SOCK_STREAM {
///             return Err(ESOCKTNOSUPPORT);
///         }
///         if protocol != 0 {
///             return Err(EPROTONOSUPPORT);
///         }
///         Ok(try_init!(Swallowed {
///             bytes: Atomic::new(0),
///         }))
///     }
///
///     fn release(sk: &TypedSock<Self::Data>) {
///         pr_info!("swallowed {} bytes\n", sk.data().bytes.load(Relaxed));
///     }
///
///     fn sendmsg(sk: &TypedSock<Self::Data>, msg: &mut MsgHdr, len: usize) -> Result<usize> {
///         msg.source().advance(len);
///         sk.data().bytes.add(len, Relaxed);
///         Ok(len)
///     }
/// }
/// ```
#[vtable]
pub trait Ops: Sized + 'static {
    /// The number of the family (`AF_..`).
    const FAMILY: i32;

    /// What the family keeps for each socket. Dropped in any context: its destructor must not
    /// sleep.
    type Data: Send + Sync + 'static;

    /// Returns the protocol that sockets are made of. Always the same.
    fn proto() -> &'static Proto<Self>;

    /// Prepares a new socket: checks type and protocol, and returns an initialiser for the data.
    ///
    /// `net` is the network namespace of the program. Should fail with `ESOCKTNOSUPPORT` or `EPROTONOSUPPORT` if there is no such thing.
    fn create(
        net: &Namespace,
        socket: &Socket,
        protocol: i32,
    ) -> Result<impl PinInit<Self::Data, Error>>;

    /// Ends the work of a socket that is being closed. No other operation will be called for it.
    ///
    /// The socket still has its wait queue, so that this may wait for data to be sent. It becomes
    /// an orphan right afterwards.
    fn release(sk: &TypedSock<Self::Data>);

    /// Gives the socket an address of its own.
    fn bind(_sk: &TypedSock<Self::Data>, _addr: &RawAddr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Connects the socket.
    fn connect(
        _socket: &Socket,
        _sk: &TypedSock<Self::Data>,
        _addr: &RawAddr<'_>,
        _nonblock: bool,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the next connection that has come in.
    fn accept(_sk: &TypedSock<Self::Data>, _nonblock: bool) -> Result<Child<Self::Data>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lets the socket take in connections.
    fn listen(_sk: &TypedSock<Self::Data>, _backlog: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shuts down one or both directions.
    fn shutdown(_sk: &TypedSock<Self::Data>, _how: How) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the address of the socket, or of its peer.
    fn getname(_sk: &TypedSock<Self::Data>, _peer: bool) -> Result<SocketAddr> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what the socket is ready for, a mask of [`EPOLLIN`] and so on.
    ///
    /// The caller has registered for being woken already, and ordered that before this call. Must
    /// not sleep.
    fn poll(_sk: &TypedSock<Self::Data>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Performs an ioctl(2). `ENOIOCTLCMD` if this one is not known.
    fn ioctl(_sk: &TypedSock<Self::Data>, _cmd: u32, _arg: UserPtr) -> Result<i32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends `len` bytes from `msg`, or the beginning of them, and returns how many were sent.
    ///
    /// It is up to this function to send `SIGPIPE` ([`Sock::send_sigpipe`]).
    fn sendmsg(_sk: &TypedSock<Self::Data>, _msg: &mut MsgHdr, _len: usize) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives up to `len` bytes into `msg` and returns how many there were; zero at the end.
    fn recvmsg(
        _sk: &TypedSock<Self::Data>,
        _msg: &mut MsgHdr,
        _len: usize,
        _flags: u32,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The registration of a family: as long as it exists programs can create sockets of it.
///
/// Sockets that exist when it is dropped go on to work.
///
/// # Invariants
///
/// `proto` and the family are registered, by this object.
///
/// # Examples
///
/// ```ignore
/// struct MyModule {
///     _family: Registration<MyFamily>,
/// }
///
/// impl kernel::Module for MyModule {
///     fn init(_module: &'static ThisModule) -> Result<Self> {
///         Ok(Self {
///             _family: Registration::new()?,
///         })
///     }
/// }
/// ```
pub struct Registration<T: Ops> {
    proto: &'static Proto<T>,
}

impl<T: Ops> Registration<T> {
    /// Registers the family. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this one is registered already, `EEXIST` if another one has the same number.
    pub fn new() -> Result<Self> {
        let proto = T::proto();

        if proto.registered.cmpxchg(false, true, Full).is_err() {
            return Err(EBUSY);
        }

        // A cache of its own would have to be empty when the registration ends, which may be before
        // the last socket ends. So there is none, like in AF_VSOCK.

        // SAFETY: `proto` is valid, never moves, and is not registered: we have just made sure of
        // that.
        if let Err(err) = to_result(unsafe { bindings::proto_register(proto.as_raw(), 0) }) {
            proto.registered.store(false, Release);
            return Err(err);
        }

        // SAFETY: The family is a constant, and unregistered before the code of its module goes
        // away, by the drop of `Self` at the latest.
        if let Err(err) = to_result(unsafe { bindings::sock_register(Glue::<T>::FAMILY) }) {
            // SAFETY: It was registered above.
            unsafe { bindings::proto_unregister(proto.as_raw()) };
            proto.registered.store(false, Release);
            return Err(err);
        }

        // INVARIANT: Both were registered.
        Ok(Self { proto })
    }
}

impl<T: Ops> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the family is registered, by us.
        unsafe { bindings::sock_unregister(T::FAMILY) };
        // SAFETY: So is the protocol. Sockets that refer to it still do not look at what is undone
        // here.
        unsafe { bindings::proto_unregister(self.proto.as_raw()) };
        self.proto.registered.store(false, Release);
    }
}

/// Allocates a socket with its data, with one reference for the caller.
///
/// # Safety
///
/// - `net` must be valid.
/// - `socket` must be null, or valid and without a `struct sock`; then it refers to the new one, if
///   there is no error.
unsafe fn alloc<T: Ops>(
    net: *mut bindings::net,
    socket: *mut bindings::socket,
    protocol: c_int,
    kern: bool,
    init: impl PinInit<T::Data, Error>,
) -> Result<NonNull<bindings::sock>> {
    let proto = T::proto().as_raw();

    // SAFETY: `net` is valid by the safety requirements, and `proto` by its type invariants.
    let sk = NonNull::new(unsafe {
        bindings::sk_alloc(
            net,
            T::FAMILY,
            GFP_KERNEL_ACCOUNT.as_raw(),
            proto,
            c_int::from(kern),
        )
    })
    .ok_or(ENOBUFS)?
    .as_ptr();

    // SAFETY: `sk` was just allocated, and `socket` is as required.
    unsafe { bindings::sock_init_data(socket, sk) };

    // SAFETY: Nobody else knows of the socket. The protocol was truncated in the same way where
    // `protocol` comes from, if at all.
    unsafe { (*sk).sk_protocol = protocol as u16 };

    // SAFETY: By the type invariants of `Proto` there is room for a `TypedSock`.
    let slot = unsafe { addr_of_mut!((*sk.cast::<TypedSock<T::Data>>()).data) };

    // SAFETY:
    // - `slot` is valid, and uninitialised; the socket does not move.
    // - In the case of an error it is only freed: `sk_destruct` does nothing so far.
    if let Err(err) = unsafe { pin_init::raw_try_init(slot, init) } {
        // SAFETY: `sk` is valid and the reference to it is ours. `socket` is as required.
        unsafe {
            bindings::sock_orphan(sk);
            if !socket.is_null() {
                (*socket).sk = core::ptr::null_mut();
            }
            bindings::sock_put(sk);
        }
        return Err(err);
    }

    // SAFETY: Nobody else has seen the socket, and its data are initialised now.
    unsafe { (*sk).sk_destruct = Some(Glue::<T>::destruct) };
    // SAFETY: Both are valid.
    unsafe { bindings::sock_prot_inuse_add(net, proto, 1) };

    // SAFETY: It was checked above that this is not null.
    Ok(unsafe { NonNull::new_unchecked(sk) })
}

/// The functions that C code calls, and the tables in which it finds them.
struct Glue<T: Ops>(PhantomData<T>);

impl<T: Ops> Glue<T> {
    const FAMILY: &'static bindings::net_proto_family = &bindings::net_proto_family {
        family: T::FAMILY,
        create: Some(Self::create),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    const OPS: &'static bindings::proto_ops = &bindings::proto_ops {
        family: T::FAMILY,
        owner: this_module::<T::OwnerModule>().as_ptr(),
        release: Some(Self::release),
        bind: if T::HAS_BIND {
            Some(Self::bind)
        } else {
            Some(bindings::sock_no_bind)
        },
        connect: if T::HAS_CONNECT {
            Some(Self::connect)
        } else {
            Some(bindings::sock_no_connect)
        },
        socketpair: Some(bindings::sock_no_socketpair),
        accept: if T::HAS_ACCEPT {
            Some(Self::accept)
        } else {
            Some(bindings::sock_no_accept)
        },
        getname: if T::HAS_GETNAME {
            Some(Self::getname)
        } else {
            Some(bindings::sock_no_getname)
        },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            Some(bindings::sock_no_ioctl)
        },
        gettstamp: Some(bindings::sock_gettstamp),
        listen: if T::HAS_LISTEN {
            Some(Self::listen)
        } else {
            Some(bindings::sock_no_listen)
        },
        shutdown: if T::HAS_SHUTDOWN {
            Some(Self::shutdown)
        } else {
            Some(bindings::sock_no_shutdown)
        },
        sendmsg: if T::HAS_SENDMSG {
            Some(Self::sendmsg)
        } else {
            Some(bindings::sock_no_sendmsg)
        },
        recvmsg: if T::HAS_RECVMSG {
            Some(Self::recvmsg)
        } else {
            Some(bindings::sock_no_recvmsg)
        },
        mmap: Some(bindings::sock_no_mmap),
        ..pin_init::zeroed()
    };

    /// Returns the socket that an operation is about.
    ///
    /// # Safety
    ///
    /// `socket` must be a valid socket of this family that has a `struct sock`, for as long as `'a`.
    #[inline]
    unsafe fn sk<'a>(socket: *mut bindings::socket) -> &'a TypedSock<T::Data> {
        // SAFETY: The socket is of this family, so what it refers to, with a reference, was made by
        // `alloc`.
        unsafe { TypedSock::from_raw((*socket).sk) }
    }

    /// # Safety
    ///
    /// Only called by `__sock_create`.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        socket: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
    ) -> c_int {
        from_result(|| {
            let init = T::create(
                // SAFETY: The caller guarantees that the namespace is valid.
                unsafe { Namespace::from_raw(net) },
                // SAFETY: The caller has just allocated the socket by `sock_alloc`.
                unsafe { Socket::from_raw(socket) },
                protocol,
            )?;

            // SAFETY: The caller guarantees that the namespace is valid, and the socket is new.
            unsafe { alloc::<T>(net, socket, protocol, kern != 0, init) }?;
            // SAFETY: The socket is valid and nobody else knows of it.
            unsafe { (*socket).ops = Self::OPS };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called for a socket that was made by `alloc`, when its last reference has gone.
    unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
        // SAFETY: The socket is valid until this function returns.
        unsafe { bindings::sock_prot_inuse_add(bindings::sock_net(sk), (*sk).sk_prot_creator, -1) };
        // SAFETY: The data were initialised before this function became the destructor, nobody can
        // use them any more, and they are dropped once: here.
        unsafe { core::ptr::drop_in_place(addr_of_mut!((*sk.cast::<TypedSock<T::Data>>()).data)) };
    }

    /// # Safety
    ///
    /// Only called through `OPS`, as the last operation of all.
    unsafe extern "C" fn release(socket: *mut bindings::socket) -> c_int {
        // SAFETY: The caller passes a valid socket.
        let sk = unsafe { (*socket).sk };
        if sk.is_null() {
            // One that was going to be accepted, and came to nothing.
            return 0;
        }

        // SAFETY: The `struct sock` of a socket of this family was made by `alloc`.
        T::release(unsafe { TypedSock::from_raw(sk) });

        // TCP makes an orphan of the socket before it is through with closing since the connection
        // outlives it. Here the protocol is through, and may have needed the wait queue to be.

        // SAFETY: The reference that the socket had is given up here, and it forgets about it.
        unsafe {
            bindings::sock_orphan(sk);
            (*socket).sk = core::ptr::null_mut();
            bindings::sock_put(sk);
        }
        0
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn bind(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes the length of the address, of which it has a copy.
            let addr = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            // SAFETY: The caller passes a socket of this family.
            T::bind(unsafe { Self::sk(socket) }, &addr)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn connect(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes the length of the address, of which it has a copy.
            let addr = unsafe { RawAddr::from_raw(addr.cast(), len) }?;
            // SAFETY: The caller passes a socket of this family, allocated by `sock_alloc`.
            let (socket, sk) = unsafe { (Socket::from_raw(socket), Self::sk(socket)) };
            T::connect(socket, sk, &addr, is_nonblock(flags))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn accept(
        socket: *mut bindings::socket,
        new: *mut bindings::socket,
        arg: *mut bindings::proto_accept_arg,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes valid arguments.
            let nonblock = is_nonblock(unsafe { (*arg).flags });
            // SAFETY: The caller passes a socket of this family.
            let child = T::accept(unsafe { Self::sk(socket) }, nonblock)?;
            let sk = ARef::into_raw(child.0).cast();

            // SAFETY: `new` was just allocated and has no `struct sock`; by the type invariants of
            // `Child` the other one has no `struct socket`. The reference goes to `new`.
            unsafe { bindings::sock_graft(sk.as_ptr(), new) };
            // SAFETY: The caller passes a socket that was allocated by `sock_alloc` or
            // `sock_create_lite`.
            unsafe { Socket::from_raw(new) }.set_state(SocketState::Connected);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn getname(
        socket: *mut bindings::socket,
        addr: *mut bindings::sockaddr,
        peer: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            let name = T::getname(unsafe { Self::sk(socket) }, peer != 0)?;
            let name = SockAddrBuf::from(name);
            let bytes = name.as_bytes();

            // SAFETY: The caller passes room for a `struct sockaddr_storage`, which is larger than
            // any `SockAddrBuf`.
            unsafe {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), addr.cast::<u8>(), bytes.len())
            };
            Ok(name.c_len())
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        socket: *mut bindings::socket,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: All arguments are the caller's.
        unsafe { bindings::sock_poll_wait(file, socket, wait) };
        // SAFETY: The caller passes a socket of this family.
        T::poll(unsafe { Self::sk(socket) })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn ioctl(socket: *mut bindings::socket, cmd: c_uint, arg: c_ulong) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            T::ioctl(unsafe { Self::sk(socket) }, cmd, UserPtr::from_addr(arg))
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn listen(socket: *mut bindings::socket, backlog: c_int) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a socket of this family.
            T::listen(unsafe { Self::sk(socket) }, backlog)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn shutdown(socket: *mut bindings::socket, how: c_int) -> c_int {
        from_result(|| {
            let how = How::try_from(how)?;
            // SAFETY: The caller passes a socket of this family.
            T::shutdown(unsafe { Self::sk(socket) }, how)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn sendmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: This is `sendmsg`, and the message is for nobody but us while it runs.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // SAFETY: The caller passes a socket of this family.
            T::sendmsg(unsafe { Self::sk(socket) }, msg, len).map(c_len)
        })
    }

    /// # Safety
    ///
    /// Only called through `OPS`.
    unsafe extern "C" fn recvmsg(
        socket: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: This is `recvmsg`, and the message is for nobody but us while it runs.
            let msg = unsafe { MsgHdr::from_raw(msg) };
            // SAFETY: The caller passes a socket of this family.
            let sk = unsafe { Self::sk(socket) };
            // CAST: The bits remain the same.
            T::recvmsg(sk, msg, len, flags as u32).map(c_len)
        })
    }
}

/// Returns whether a call with these flags (of the file) shall not block.
#[inline]
fn is_nonblock(flags: c_int) -> bool {
    // CAST: The bits remain the same.
    flags as u32 & bindings::O_NONBLOCK != 0
}

/// Turns a number of bytes into what system calls return; they are never asked for more than that.
#[inline]
fn c_len(len: usize) -> c_int {
    c_int::try_from(len).unwrap_or(c_int::MAX)
}
