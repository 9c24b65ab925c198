/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* guard page | data pages | guard page. The data ends at the upper guard (but for alignment), so
 * that running over its end is a fault and not a read of something else. */

#define SECRET_ALIGN 16

static size_t page_size(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t to)
{
        return (n + to - 1) / to * to;
}

void secret_wipe(void *p, size_t len)
{
        if (len > 0)
                explicit_bzero(p, len);
}

/* mlock2() without flags is mlock(), but one that AddressSanitizer does not turn into nothing. */
static int protect(uint8_t *data, size_t len)
{
        if (mprotect(data, len, PROT_READ | PROT_WRITE) < 0 || mlock2(data, len, 0) < 0 ||
            madvise(data, len, MADV_DONTDUMP) < 0 || madvise(data, len, MADV_WIPEONFORK) < 0)
                return -errno;
        return 0;
}

void *secret_alloc(size_t len)
{
        size_t page = page_size();
        if (len == 0 || len > SIZE_MAX / 2) {
                errno = EINVAL;
                return NULL;
        }
        size_t data_len = round_up(len, page);
        size_t total = data_len + 2 * page;
        uint8_t *base = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED)
                return NULL;
        int r = protect(base + page, data_len);
        if (r < 0) {
                munmap(base, total);
                errno = -r;
                return NULL;
        }
        return base + page + data_len - round_up(len, SECRET_ALIGN);
}

void secret_free(void *p, size_t len)
{
        if (!p)
                return;
        size_t page = page_size();
        secret_wipe(p, len);
        /* The data starts within the first data page. */
        uint8_t *data = (uint8_t *)((uintptr_t)p & ~(uintptr_t)(page - 1));
        munmap(data - page, round_up(len, page) + 2 * page);
}
