//! The pause program: the process that holds a pod's namespaces open, and pid 1 of pods whose
//! containers share the pid namespace.
//!
//! It sleeps until a signal arrives. SIGINT and SIGTERM make it exit with status 0; on SIGCHLD it
//! reaps orphaned processes of the pod, which the kernel reparents to pid 1. Every pod of a node
//! runs one, so it uses neither libc nor std and needs only its code and a stack page.
//!
//! Compiled by `build.rs` as a program of its own; `src/image/pause.rs` makes the image. It needs
//! `unsafe` because a program without a libc must implement its entry point and system calls.

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

/// The entry point. The kernel aligns the stack pointer to 16 bytes, as the ABI requires before a
/// call, while a Rust function expects the state after a call; hence these instructions. The frame
/// pointer and the return address are cleared to mark the outermost frame.
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

    // Blocked signals stay pending until they are fetched. Otherwise the kernel would discard them:
    // pid 1 receives no signal without a handler, and SIGCHLD is ignored by default.
    syscall(
        number::RT_SIGPROCMASK,
        [SIG_BLOCK, address(&set), 0, size_of::<SignalSet>()],
    );

    loop {
        // Pending signals of one kind merge, so one SIGCHLD can stand for many children.
        while syscall(number::WAIT4, [ANY_CHILD, 0, WNOHANG, 0]) > 0 {}

        // Returns the signal, or an error if the wait was interrupted (by SIGSTOP and SIGCONT, or a
        // debugger).
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

/// Makes a system call; a negative result is an error number.
///
/// It is safe for the calls above only: they write no memory, and the signal set that they read
/// lives in `pause`, which never returns.
fn syscall(number: usize, arguments: [usize; 4]) -> isize {
    let [a, b, c, d] = arguments;
    let answer: isize;
    // SAFETY: this is the kernel's calling convention. Registers that the kernel changes are
    // declared, and memory is not declared as untouched.
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

/// Required by the language; nothing above can panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(1)
}
