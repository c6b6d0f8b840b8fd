// SPDX-License-Identifier: GPL-2.0

//! The table entry of a family that says how large its sockets are.

use super::{
    glue::Glue,
    Head,
    Ops,
    TypedSock, //
};

use crate::{
    bindings,
    module::this_module,
    net::addr::{
        AF_INET,
        AF_INET6, //
    },
    prelude::*,
    sync::atomic::Atomic,
    types::Opaque, //
};

use core::marker::PhantomData;

/// Has the [`Proto`] of the sockets of `T`.
///
/// # Safety
///
/// `get` must always return the same one.
pub unsafe trait StaticProto<T: Ops> {
    /// Returns it.
    fn get() -> &'static Proto<T>;
}

/// Makes the [`Proto`] of the sockets of a family, a static, which a type has
/// ([`StaticProto`]): `socket_proto!(type, family, name)`. See [`Ops`] for an example.
///
/// [`Proto`]: crate::net::family::Proto
/// [`StaticProto`]: crate::net::family::StaticProto
/// [`Ops`]: crate::net::family::Ops
#[macro_export]
macro_rules! socket_proto {
    ($holder:ty, $family:ty, $name:expr) => {
        // SAFETY: There is one.
        unsafe impl $crate::net::family::StaticProto<$family> for $holder {
            fn get() -> &'static $crate::net::family::Proto<$family> {
                static PROTO: $crate::net::family::Proto<$family> =
                    $crate::net::family::Proto::new($name);
                &PROTO
            }
        }
    };
}

/// What the kernel has to know in order to allocate the sockets of a family.
///
/// Wraps the kernel's `struct proto`. There is one for each type that implements [`Ops`], in a
/// `static`: see [`socket_proto!`](crate::socket_proto).
///
/// # Invariants
///
/// `obj_size` is the size of a [`TypedSock`] of `T`, and `owner` the module that `T` is part of.
pub struct Proto<T: Ops> {
    proto: Opaque<bindings::proto>,
    /// Here, so that they have one address.
    pub(super) ops: &'static bindings::proto_ops,
    pub(super) registered: Atomic<bool>,
    /// How many sockets there are.
    pub(super) live: Atomic<usize>,
    _ops: PhantomData<fn() -> T>,
}

impl<T: Ops> Proto<T> {
    /// Creates a `Proto`; `name` is what `/proc/net/protocols` shows.
    ///
    /// To be used in constants. Will panic if the name has more than 31 characters.
    pub const fn new(name: &CStr) -> Self {
        let size = size_of::<TypedSock<T>>();
        assert!(
            size <= u32::MAX as usize,
            "the data of a socket are too large"
        );

        // What `inet_create` and `inet6_create` initialise has to be there.
        assert!(T::PROTOCOL.is_some() == T::Head::INET);
        assert!((T::FAMILY == AF_INET6 as i32) == (T::Head::IPV6_PINFO_OFFSET != 0));
        assert!((T::FAMILY == AF_INET as i32 || T::FAMILY == AF_INET6 as i32) == T::Head::INET);

        let mut proto = bindings::proto {
            owner: this_module::<T::OwnerModule>().as_ptr(),
            obj_size: size as u32,
            ipv6_pinfo_offset: T::Head::IPV6_PINFO_OFFSET as c_uint,
            init: Some(Glue::<T>::init_sock),
            unhash: Some(Glue::<T>::unhash),
            ioctl: if T::HAS_IOCTL {
                Some(Glue::<T>::sk_ioctl)
            } else {
                None
            },
            destroy: Some(Glue::<T>::destroy),
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
            ops: Glue::<T>::OPS,
            registered: Atomic::new(false),
            live: Atomic::new(0),
            _ops: PhantomData,
        }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::proto {
        self.proto.get()
    }
}

// SAFETY: The `struct proto` is only given to C code, which guards what it changes by locks of its
// own. The others are atomic.
unsafe impl<T: Ops> Sync for Proto<T> {}
