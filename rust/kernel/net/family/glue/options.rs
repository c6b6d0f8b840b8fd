// SPDX-License-Identifier: GPL-2.0

//! The operations that set and read options.

use super::{
    super::{
        Ops,
        TypedSock, //
    },
    Glue, //
};

use crate::{
    bindings,
    net::sockopt::{
        OptionIn,
        OptionOut,
        SOL_SOCKET, //
    },
    prelude::*, //
};

impl<T: Ops> Glue<T> {
    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn setsockopt(
        socket: *mut bindings::socket,
        level: c_int,
        name: c_int,
        value: bindings::sockptr_t,
        len: c_uint,
    ) -> c_int {
        let set_native = |native: *mut bindings::socket| {
            // SAFETY: The native socket is valid, and the other arguments come from the caller.
            unsafe { bindings::sock_setsockopt(native, level, name, value, len) }
        };
        let operation = |socket: &_, sk: &TypedSock<T>| {
            // SAFETY: The caller passes the address of the value and its length.
            let given = unsafe { OptionIn::from_raw(value, len) };
            T::setsockopt(socket, sk, level, name, &given)?;
            // The option is in our `struct sock`, which a fallback may have copied before. The
            // interface and the mark are in both sockets, as BPF programs may change those of the
            // native one. The option was accepted, so the result does not matter.
            // CAST: The bits remain the same.
            let native = match name as u32 {
                bindings::SO_BINDTODEVICE | bindings::SO_BINDTOIFINDEX | bindings::SO_MARK => {
                    sk.native().as_raw()
                }
                _ => sk.native().taking_over(),
            };
            if let (SOL_SOCKET, Some(native)) = (level, native) {
                let _ = set_native(native);
            }
            Ok(0)
        };
        let native_operation = |native: *mut bindings::socket, ops: &bindings::proto_ops| {
            if level == SOL_SOCKET {
                return Some(set_native(native));
            }
            // SAFETY: As above.
            Some(unsafe { ops.setsockopt?(native, level, name, value, len) })
        };
        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, native_operation) }
    }

    /// # Safety
    ///
    /// Must only be called through `OPS`.
    pub(super) unsafe extern "C" fn getsockopt(
        socket: *mut bindings::socket,
        level: c_int,
        name: c_int,
        opt: *mut bindings::sockopt_t,
    ) -> c_int {
        let operation = |socket: &_, sk: &_| {
            // SAFETY: The caller passes `opt` for our exclusive use during this call.
            let value = unsafe { OptionOut::from_raw(opt) };
            T::getsockopt(socket, sk, level, name, value)?;
            Ok(0)
        };
        // The native protocols do not take their arguments in this form. Only calls that started
        // before the fallback get here, and they fail.

        // SAFETY: The caller passes a socket of this family.
        unsafe { Self::perform(socket, operation, |_, _| Some(ENOPROTOOPT.to_errno())) }
    }
}
