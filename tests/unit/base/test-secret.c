/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../unit.h"
#include "base/secret.h"

/* How a child that runs `f` ends: 0, its status, or minus the signal. */
static int in_child(void (*f)(uint8_t *p, size_t len), uint8_t *p, size_t len)
{
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct rlimit no_core = { 0, 0 };
                setrlimit(RLIMIT_CORE, &no_core);
                f(p, len);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void exit_if_wiped(uint8_t *p, size_t len)
{
        for (size_t i = 0; i < len; i++)
                if (p[i] != 0)
                        _exit(1);
        _exit(42);
}

static void alloc_is_zeroed_and_stays_here(void **state)
{
        uint8_t *p = secret_alloc(100);
        assert_non_null(p);
        for (size_t i = 0; i < 100; i++)
                assert_int_equal(p[i], 0);
        memset(p, 0xaa, 100);
        assert_int_equal(in_child(exit_if_wiped, p, 100), 42);
        assert_int_equal(p[99], 0xaa);
        secret_free(p, 100);
}

/* Sanitizers catch the signal and exit with a status of their own: dead is what counts. */
static void touch_above(uint8_t *p, size_t len)
{
        fclose(stderr);
        *(volatile uint8_t *)(p + len) = 1;
}

static void touch_below(uint8_t *p, size_t len)
{
        fclose(stderr);
        *(volatile uint8_t *)(p - 1) = 1;
}

static void guard_pages(void **state)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE), len = 2 * page;
        uint8_t *p = secret_alloc(len);
        assert_non_null(p);
        assert_int_not_equal(in_child(touch_above, p, len), 0);
        assert_int_not_equal(in_child(touch_below, p, len), 0);
        secret_free(p, len);
        /* The end of a small one lies at the guard as well. */
        p = secret_alloc(32);
        assert_int_not_equal(in_child(touch_above, p, 32), 0);
        secret_free(p, 32);
}

/* VmFlags of /proc/self/smaps: lo locked, dd not dumped, wf wiped on fork. */
static void pages_are_marked(void **state)
{
        uint8_t *p = secret_alloc(10);
        char line[512];
        bool here = false, found = false;
        FILE *f = fopen("/proc/self/smaps", "re");
        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
                unsigned long from, to;
                if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
                        here = from <= (uintptr_t)p && (uintptr_t)p < to;
                if (here && strncmp(line, "VmFlags:", 8) == 0) {
                        found = true;
                        assert_non_null(strstr(line, " lo"));
                        assert_non_null(strstr(line, " dd"));
                        assert_non_null(strstr(line, " wf"));
                }
        }
        fclose(f);
        assert_true(found);
        secret_free(p, 10);
}

static void free_unmaps(void **state)
{
        uint8_t *p = secret_alloc(10);
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        uint8_t *data = (uint8_t *)((uintptr_t)p & ~(page - 1));
        unsigned char resident;
        assert_int_equal(mincore(data, page, &resident), 0);
        secret_free(p, 10);
        assert_int_equal(mincore(data, page, &resident), -1);
        assert_int_equal(errno, ENOMEM);
        secret_free(NULL, 10);
}

static void refuse_without_locked_memory(uint8_t *p, size_t len)
{
        struct rlimit none = { 0, 0 };
        if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
                _exit(1);
        /* Root may lock whatever the limit says. */
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
                _exit(2);
        _exit(secret_alloc(16) ? 3 : 42);
}

static void never_in_ordinary_memory(void **state)
{
        assert_int_equal(in_child(refuse_without_locked_memory, NULL, 0), 42);
        assert_null(secret_alloc(0));
        assert_null(secret_alloc(SIZE_MAX));
}

static void wipe(void **state)
{
        char s[] = "secret";
        secret_wipe(s, 3);
        assert_memory_equal(s, "\0\0\0ret", 7);
        secret_wipe(NULL, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(alloc_is_zeroed_and_stays_here),
                cmocka_unit_test(guard_pages),
                cmocka_unit_test(pages_are_marked),
                cmocka_unit_test(free_unmaps),
                cmocka_unit_test(never_in_ordinary_memory),
                cmocka_unit_test(wipe),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
