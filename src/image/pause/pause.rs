//! The pause program: the process that holds a pod's namespaces open, and its process 1 where
//! containers share the process namespace.
//!
//! It sleeps until a signal comes. SIGINT and SIGTERM end it with status 0; SIGCHLD makes it
//! collect children that were orphaned in the pod, which the kernel hands to process 1. Nothing
//! else happens here, and every pod of a node has one of these: so it uses neither libc nor std,
//! and does with a stack page and the code.
//!
//! Compiled by `build.rs` as a program of its own; `src/image/pause.rs` makes the image. All
//! `unsafe` of Dockside is in this file: a program without a libc has to enter and to call the
//! kernel by hand.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::ptr;

// Signal numbers are the same on both architectures; syscall numbers are not.
const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;

const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
const ANY_CHILD: usize = usize::MAX;

/// The kernel's signal set: bit n-1 stands for signal n.
type SignalSet = u64;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
}

/// Where the kernel enters. The stack pointer is aligned to 16 bytes here, as it has to be before a
/// call; a function of Rust expects the state after a call, hence the few instructions between. The
/// frame pointer and the return address are cleared to mark the outermost frame.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "call {pause}", "ud2", pause = sym pause);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "b {pause}", pause = sym pause);
}

extern "C" fn pause() -> ! {
    let set: SignalSet = [SIGINT, SIGTERM, SIGCHLD]
        .iter()
        .fold(0, |set, signal| set | 1 << (signal - 1));

    // Blocked signals wait to be fetched. Without this, the kernel would throw them away: process 1
    // of a namespace gets no signal that it has no handler for, and the default for SIGCHLD is to
    // do nothing.
    syscall(
        number::RT_SIGPROCMASK,
        [SIG_BLOCK, address(&set), 0, size_of::<SignalSet>()],
    );

    loop {
        // Signals of one kind merge while they wait, so one SIGCHLD can stand for many children.
        while syscall(number::WAIT4, [ANY_CHILD, 0, WNOHANG, 0]) > 0 {}

        // Gives the signal, or an error when something else interrupted the wait (being stopped and
        // continued, a debugger).
        let signal = syscall(
            number::RT_SIGTIMEDWAIT,
            [address(&set), 0, 0, size_of::<SignalSet>()],
        );
        if signal == SIGINT as isize || signal == SIGTERM as isize {
            exit(0);
        }
    }
}

fn exit(status: usize) -> ! {
    loop {
        syscall(number::EXIT_GROUP, [status, 0, 0, 0]);
    }
}

fn address(set: &SignalSet) -> usize {
    ptr::from_ref(set).expose_provenance()
}

/// Asks the kernel; a negative answer is an error number.
///
/// Safe to call, because of the calls above, and only those: they write no memory, and what they
/// read (a signal set) lives in `pause`, which never returns.
fn syscall(number: usize, arguments: [usize; 4]) -> isize {
    let [a, b, c, d] = arguments;
    let answer: isize;
    // SAFETY: these are the kernel's calling conventions. Registers that the kernel changes are
    // declared, memory is not claimed to be left alone.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b, in("x2") c, in("x3") d,
            options(nostack),
        );
    }
    answer
}

/// Nothing above can panic; the language wants the function all the same.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(1)
}
