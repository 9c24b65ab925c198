/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/fiber.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/util.h"

/* Enough for a TLS handshake inside libmosquitto with a signature by the TPM at its bottom: the
 * deepest path measured takes less than a fifth of it. */
#define STACK_SIZE ((size_t)256 * 1024)

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

struct Fiber {
        ucontext_t context, back; /* its own, and of whoever runs it at the moment */
        FiberFunction function;
        void *userdata;
        uint8_t *mapping; /* a guard page, then the stack */
        size_t mapping_size;
        bool done;
#ifdef FIBER_ASAN
        void *fake_stack, *back_fake_stack;
        const void *back_bottom;
        size_t back_size;
#endif
};

static Fiber *current;

static size_t guard_size(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

/* The address sanitizer keeps a shadow of the stack in use and has to hear of every change. */
static void announce_switch_in(Fiber *f)
{
#ifdef FIBER_ASAN
        __sanitizer_start_switch_fiber(&f->back_fake_stack, f->mapping + guard_size(), STACK_SIZE);
#endif
}

static void arrived_in(Fiber *f)
{
#ifdef FIBER_ASAN
        __sanitizer_finish_switch_fiber(f->fake_stack, &f->back_bottom, &f->back_size);
#endif
}

static void announce_switch_back(Fiber *f)
{
#ifdef FIBER_ASAN
        __sanitizer_start_switch_fiber(f->done ? NULL : &f->fake_stack, f->back_bottom,
                                       f->back_size);
#endif
}

static void arrived_back(Fiber *f)
{
#ifdef FIBER_ASAN
        __sanitizer_finish_switch_fiber(f->back_fake_stack, NULL, NULL);
#endif
}

static Fiber *fiber_free(Fiber *f)
{
        if (!f)
                return NULL;
        if (f->mapping)
                munmap(f->mapping, f->mapping_size);
        free(f);
        return NULL;
}
DEFINE_CLEANUP(Fiber, fiber_free)

static int map_stack(Fiber *f)
{
        size_t size = guard_size() + STACK_SIZE;
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return -ENOMEM;
        f->mapping = p;
        f->mapping_size = size;
        /* Stacks grow down: what runs off the end must hit this page and nothing else. */
        return mprotect(p, guard_size(), PROT_NONE) < 0 ? -ENOMEM : 0;
}

static void switch_back(Fiber *f)
{
        announce_switch_back(f);
        swapcontext(&f->context, &f->back);
}

static void entry(void)
{
        Fiber *f = current;
        arrived_in(f);
        f->function(f->userdata);
        f->done = true;
        switch_back(f);
}

/* Runs the fiber until it yields or ends; it is gone after its end. */
static void run(Fiber *f)
{
        current = f;
        announce_switch_in(f);
        swapcontext(&f->back, &f->context);
        arrived_back(f);
        current = NULL;
        if (f->done)
                fiber_free(f);
}

int fiber_spawn(FiberFunction function, void *userdata)
{
        assert(!current);
        _cleanup_(fiber_freep) Fiber *f = calloc(1, sizeof(*f));
        if (!f || map_stack(f) < 0 || getcontext(&f->context) < 0)
                return -ENOMEM;
        f->function = function;
        f->userdata = userdata;
        f->context.uc_stack.ss_sp = f->mapping + guard_size();
        f->context.uc_stack.ss_size = STACK_SIZE;
        makecontext(&f->context, entry, 0);
        run(TAKE_PTR(f));
        return 0;
}

Fiber *fiber_current(void)
{
        return current;
}

void fiber_yield(void)
{
        Fiber *f = current;
        assert(f);
        switch_back(f);
        arrived_in(f);
}

void fiber_resume(Fiber *f)
{
        assert(!current);
        run(f);
}
