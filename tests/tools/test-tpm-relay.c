/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The relay between a client and a real software TPM. Usage: test-tpm-relay TPM-RELAY */
#include "../unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/str.h"
#include "base/time.h"
#include "swtpm.h"

#define GET_RANDOM "0x17b"
#define FOREVER    (30 * 1000) /* ms */

static const char *program;

/* TPM2_GetRandom of 8 bytes; TPM2_GetCapability of the manufacturer, which answers alike each time;
 * TPM2_ReadClock. */
static const uint8_t get_random[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8 };
static const uint8_t get_maker[] = { 0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0,
                                     0,    0, 6, 0, 0, 1,  5, 0, 0, 0,    1 };
static const uint8_t read_clock[] = { 0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x81 };
#define ASK(fd, command, ret) ask(fd, command, sizeof(command), ret)

typedef struct Relay {
        pid_t pid;
        char path[108]; /* unix(7) */
        int fd;         /* a client */
} Relay;

static int dial(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
                return fd;
        close(fd);
        return -1;
}

/* The options end with NULL. */
static void relay_start(Relay *r, Lab *lab, const char *const *options)
{
        const char *argv[16] = { program };
        size_t n = 1;
        snprintf(r->path, sizeof(r->path), "%s", lab_path(lab, "relayed"));
        unlink(r->path);
        while (*options)
                argv[n++] = *options++;
        argv[n++] = r->path;
        argv[n] = lab_path(lab, "tpm");
        r->pid = fork();
        if (r->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execv(program, (char *const *)argv);
                _exit(127);
        }
        for (int i = 0; (r->fd = dial(r->path)) < 0; i++) {
                assert_true(i < 500);
                poll(NULL, 0, 10);
        }
}
#define RELAY_START(r, lab, ...) relay_start(r, lab, (const char *const[]){ __VA_ARGS__, NULL })

static void relay_stop(Relay *r)
{
        close(r->fd);
        kill(r->pid, SIGKILL);
        waitpid(r->pid, NULL, 0);
}

static bool readable(int fd, int ms)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        return poll(&p, 1, ms) > 0;
}

/* The answer's length; 0 when the connection ended instead. */
static size_t hear(int fd, uint8_t ret[static 4096])
{
        size_t len = 0, size = 10;
        while (len < size) {
                assert_true(readable(fd, FOREVER));
                ssize_t n = read(fd, ret + len, size - len);
                if (n <= 0)
                        return 0;
                len += (size_t)n;
                if (len == 10)
                        size = (size_t)ret[4] << 8 | ret[5];
        }
        return len;
}

static size_t ask(int fd, const uint8_t *command, size_t len, uint8_t ret[static 4096])
{
        assert_int_equal(send(fd, command, len, MSG_NOSIGNAL), len);
        return hear(fd, ret);
}

static void redial(Relay *r)
{
        close(r->fd);
        r->fd = dial(r->path);
        assert_true(r->fd >= 0);
}

static void test_passes(void **state)
{
        Relay r;
        uint8_t first[4096], again[4096];
        RELAY_START(&r, *state, "--delay=0x17b=0");
        assert_int_equal(ASK(r.fd, get_random, first), 20);
        assert_int_equal(ASK(r.fd, get_random, again), 20);
        assert_memory_equal(first, again, 12);
        assert_memory_not_equal(first + 12, again + 12, 8);
        /* In pieces, and the next client is served as the first. */
        redial(&r);
        assert_int_equal(send(r.fd, get_maker, 5, 0), 5);
        assert_false(readable(r.fd, 50));
        assert_int_equal(ask(r.fd, get_maker + 5, sizeof(get_maker) - 5, first), 27);
        assert_memory_equal(first + 23, "IBM\0", 4);
        relay_stop(&r);
}

static void test_delay(void **state)
{
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--delay=" GET_RANDOM "=300");
        usec_t start = now_boottime();
        ASK(r.fd, read_clock, answer);
        usec_t quick = now_boottime() - start;
        start = now_boottime();
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        usec_t slow = now_boottime() - start;
        assert_true(quick < 300 * USEC_PER_MSEC);
        assert_true(slow >= 300 * USEC_PER_MSEC);
        relay_stop(&r);

        RELAY_START(&r, *state, "--delay-all=50", "--delay-ms=10000");
        start = now_boottime();
        ASK(r.fd, read_clock, answer);
        assert_true(now_boottime() - start >= 50 * USEC_PER_MSEC);
        assert_true(now_boottime() - start < 10000 * USEC_PER_MSEC);
        relay_stop(&r);
}

/* Whoever goes while the TPM is slow does not hold up the next. */
static void test_gone_meanwhile(void **state)
{
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--delay=" GET_RANDOM "=60000");
        assert_int_equal(send(r.fd, get_random, sizeof(get_random), 0), sizeof(get_random));
        assert_false(readable(r.fd, 100));
        redial(&r);
        assert_int_equal(ASK(r.fd, get_maker, answer), 27);
        relay_stop(&r);
}

static void read_line(FILE *f, char direction, const uint8_t *expected, size_t len)
{
        char line[8300], hex[8300];
        assert_non_null(fgets(line, sizeof(line), f));
        hex_encode(BYTES(expected, len), hex);
        assert_int_equal(line[0], direction);
        assert_int_equal(line[1], ' ');
        assert_int_equal(strlen(line), strlen(hex) + 3);
        assert_memory_equal(line + 2, hex, strlen(hex));
}

static void test_record(void **state)
{
        Relay r;
        uint8_t answer[4096];
        char option[160];
        const char *path = lab_path(*state, "record");
        snprintf(option, sizeof(option), "--record=%s", path);
        RELAY_START(&r, *state, option, "--fail=0x181=0x922");
        size_t len = ASK(r.fd, get_random, answer);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        read_line(f, '>', get_random, sizeof(get_random));
        read_line(f, '<', answer, len);
        len = ASK(r.fd, read_clock, answer);
        read_line(f, '>', read_clock, sizeof(read_clock));
        read_line(f, '<', answer, len);
        assert_int_equal(fgetc(f), EOF);
        fclose(f);
        relay_stop(&r);
}

static void test_flip(void **state)
{
        Relay r;
        uint8_t right[4096], wrong[4096];
        RELAY_START(&r, *state, "--flip-response=0x17a=13:2", "--flip-command=" GET_RANDOM);
        assert_int_equal(ASK(r.fd, get_maker, right), 27);
        assert_int_equal(ASK(r.fd, get_maker, wrong), 27);
        for (size_t i = 0; i < 27; i++)
                assert_int_equal(right[i] ^ wrong[i], i == 23);
        assert_int_equal(ASK(r.fd, get_maker, wrong), 27);
        assert_memory_equal(right, wrong, 27);
        assert_int_equal(ASK(r.fd, get_random, wrong), 21); /* nine bytes instead of eight */
        relay_stop(&r);
}

static void test_fail(void **state)
{
        static const uint8_t lockout[] = { 0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x21 };
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--fail=" GET_RANDOM "=0x921:2");
        assert_int_equal(ASK(r.fd, get_maker, answer), 27);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(ASK(r.fd, get_random, answer), sizeof(lockout));
                assert_memory_equal(answer, lockout, sizeof(lockout));
        }
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        relay_stop(&r);
}

static void test_hang(void **state)
{
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--hang=" GET_RANDOM ":1");
        assert_int_equal(send(r.fd, get_random, sizeof(get_random), 0), sizeof(get_random));
        assert_false(readable(r.fd, 100));
        redial(&r);
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        relay_stop(&r);
}

static void test_close(void **state)
{
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--close-after=2");
        for (int i = 0; i < 2; i++) {
                assert_int_equal(ASK(r.fd, get_random, answer), 20);
                assert_int_equal(ASK(r.fd, get_random, answer), 20);
                assert_int_equal(ASK(r.fd, get_random, answer), 0);
                redial(&r);
        }
        relay_stop(&r);
}

/* The switch is thrown between two commands: until the relay has seen it. */
static void expect_length(Relay *r, int signo, size_t expected)
{
        uint8_t answer[4096];
        size_t len = 0;
        kill(r->pid, signo);
        for (int i = 0; i < 500 && len != expected; i++) {
                len = ASK(r->fd, get_random, answer);
                poll(NULL, 0, 2);
        }
        assert_int_equal(len, expected);
}

static void test_switch(void **state)
{
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--off", "--fail=" GET_RANDOM "=0x101:1");
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        for (int i = 0; i < 3; i++) {
                expect_length(&r, SIGUSR1, 10);
                assert_int_equal(ASK(r.fd, get_random, answer), 20);
        }
        expect_length(&r, SIGUSR2, 20);
        relay_stop(&r);

        RELAY_START(&r, *state, "--fail=all=0x101");
        assert_int_equal(ASK(r.fd, get_random, answer), 10);
        expect_length(&r, SIGUSR2, 20);
        expect_length(&r, SIGUSR1, 10);
        relay_stop(&r);
}

/* What is no message ends the connection, and no more than that. */
static void test_garbage(void **state)
{
        static const uint8_t big[] = { 0x80, 1, 0, 0, 0x10, 1, 0, 0, 1, 0x7b };
        static const uint8_t huge[] = { 0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0x7b };
        static const uint8_t tiny[] = { 0x80, 1, 0, 0, 0, 9, 0, 0, 1, 0x7b };
        static const uint8_t *const bad[] = { big, huge, tiny };
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--delay-all=0");
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(ask(r.fd, bad[i], 10, answer), 0);
                redial(&r);
        }
        assert_int_equal(send(r.fd, get_random, 7, 0), 7); /* half a header, and gone */
        redial(&r);
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        relay_stop(&r);
}

/* A TPM that goes is told at once; when it is back, so is the relay's. */
static void test_tpm_away(void **state)
{
        Relay r;
        uint8_t answer[4096];
        RELAY_START(&r, *state, "--delay-all=0");
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        lab_stop_tpm(*state);
        assert_int_equal(hear(r.fd, answer), 0);
        redial(&r);
        assert_int_equal(hear(r.fd, answer), 0);
        lab_start_tpm(*state);
        redial(&r);
        assert_int_equal(ASK(r.fd, get_random, answer), 20);
        relay_stop(&r);
}

/* Exit code of the relay with these arguments, which it must not like. */
static int refused(const char *option)
{
        int status;
        pid_t pid = fork();
        if (pid == 0) {
                if (!freopen("/dev/null", "w", stderr))
                        _exit(127);
                execl(program, program, option, "/nonexistent/a", "/nonexistent/b", NULL);
                _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_options(void **state)
{
        static const char *const bad[] = {
                "--delay=0x15d",
                "--delay=x=1",
                "--delay=0x15d=1:",
                "--fail=0x15d",
                "--fail=all=-1",
                "--fail=all=0x100000000",
                "--hang=",
                "--hang=0x15d:1:2",
                "--delay-ms=",
                "--delay-all=1five",
                "--close-after=no",
                "--bogus",
                "--record=/nonexistent/record",
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int code = refused(bad[i]);
                if (code != 1 && code != 2)
                        fail_msg("%s: %d", bad[i], code);
        }
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_passes),         cmocka_unit_test(test_delay),
                cmocka_unit_test(test_gone_meanwhile), cmocka_unit_test(test_record),
                cmocka_unit_test(test_flip),           cmocka_unit_test(test_fail),
                cmocka_unit_test(test_hang),           cmocka_unit_test(test_close),
                cmocka_unit_test(test_switch),         cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_tpm_away),       cmocka_unit_test(test_options),
        };
        program = argv[1];
        return argc == 2 ? cmocka_run_group_tests(tests, lab_setup, lab_teardown) : 2;
}
