/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Small helpers that every file may use: cleanup on scope exit, ownership transfer, sizes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f)    __attribute__((cleanup(f)))
#define _cleanup_free_  _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _printf_(f, a)  __attribute__((format(printf, f, a)))
#define _pure_          __attribute__((pure))
#define _unused_        __attribute__((unused))
#define _warn_unused_   __attribute__((warn_unused_result))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Hand an owned pointer or descriptor on, so that the cleanup of this scope leaves it alone. */
#define TAKE_PTR(p)                                                                                \
        ({                                                                                         \
                __typeof__(p) *_pp = &(p);                                                         \
                __typeof__(p) _taken = *_pp;                                                       \
                *_pp = NULL;                                                                       \
                _taken;                                                                            \
        })
#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int *_pfd = &(fd);                                                                 \
                int _taken_fd = *_pfd;                                                             \
                *_pfd = -1;                                                                        \
                _taken_fd;                                                                         \
        })

/* Defines `funcp`, the cleanup function of a type whose destructor takes and tolerates NULL. */
#define DEFINE_CLEANUP(type, func)                                                                 \
        static inline void func##p(type **p)                                                       \
        {                                                                                          \
                if (*p)                                                                            \
                        func(*p);                                                                  \
        }

static inline void freep(void *p)
{
        free(*(void **)p);
}

static inline void closep(int *fd)
{
        if (*fd >= 0)
                close(*fd);
}
