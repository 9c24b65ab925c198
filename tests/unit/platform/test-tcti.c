/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The transport against TPMs that misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/bytes.h"
#include "platform/fiber.h"
#include "platform/tcti.h"

static const uint8_t command[12] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0 };

typedef struct Server {
        char directory[64], path[96], config[128];
        int listener;
        pid_t pid;
} Server;

static void server_listen(Server *s)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        snprintf(s->directory, sizeof(s->directory), "/tmp/sallyport-tcti.XXXXXX");
        assert_non_null(mkdtemp(s->directory));
        snprintf(s->path, sizeof(s->path), "%s/sock", s->directory);
        snprintf(s->config, sizeof(s->config), "swtpm:path=%s", s->path);
        memcpy(a.sun_path, s->path, strlen(s->path) + 1);
        s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(s->listener, 1), 0);
        s->pid = -1;
}

/* Answers the first command with `answer`, a byte each `pause` ms when that is not 0, and then
 * closes, or stays silent for ever. */
static void server_start(Server *s, Bytes answer, int pause, bool stay)
{
        server_listen(s);
        s->pid = fork();
        if (s->pid != 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        uint8_t buf[sizeof(command)];
        int fd = accept(s->listener, NULL, NULL);
        if (recv(fd, buf, sizeof(buf), MSG_WAITALL) != sizeof(buf))
                _exit(1);
        for (size_t i = 0; i<answer.len; i += pause> 0 ? 1 : answer.len) {
                size_t n = pause > 0 ? 1 : answer.len;
                if (write(fd, answer.data + i, n) != (ssize_t)n)
                        break;
                poll(NULL, 0, pause);
        }
        if (stay)
                pause = poll(NULL, 0, 60000);
        _exit(0);
}

static void server_stop(Server *s)
{
        if (s->pid > 0) {
                kill(s->pid, SIGKILL);
                waitpid(s->pid, NULL, 0);
        }
        close(s->listener);
        unlink(s->path);
        rmdir(s->directory);
}

/* One command and its answer. */
static TSS2_RC exchange(Tcti *t, uint8_t answer[static 4096], size_t *len)
{
        TSS2_TCTI_CONTEXT *c = tcti_context(t);
        TSS2_RC rc = Tss2_Tcti_Transmit(c, sizeof(command), command);
        *len = 4096;
        return rc != 0 ? rc : Tss2_Tcti_Receive(c, len, answer, TSS2_TCTI_TIMEOUT_BLOCK);
}

/* How long to wait for an answer that never comes, and for one that a busy machine may be slow to
 * give. */
#define SHORT (300 * USEC_PER_MSEC)
#define LONG  (30 * USEC_PER_SEC)

static TSS2_RC ask(Bytes answer, int pause, bool stay, usec_t timeout, size_t *ret_len, char *error)
{
        Server s;
        Tcti *t = NULL;
        Reason reason;
        uint8_t buf[4096];
        server_start(&s, answer, pause, stay);
        assert_int_equal(tcti_new(s.config, &t, &reason), 0);
        tcti_set_timeout(t, timeout);
        TSS2_RC rc = exchange(t, buf, ret_len);
        snprintf(error, 128, "%s", tcti_error(t));
        if (rc != 0) { /* and it stays given up */
                size_t len;
                assert_int_equal(exchange(t, buf, &len), TSS2_TCTI_RC_IO_ERROR);
        } else {
                assert_memory_equal(buf, answer.data, *ret_len);
        }
        tcti_free(t);
        server_stop(&s);
        return rc;
}

static void test_answers(void **state)
{
        static const uint8_t good[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 1, 2 };
        static const uint8_t big[] = { 0x80, 0x01, 0, 0, 0x10, 1, 0, 0, 0, 0 };
        static const uint8_t huge[] = { 0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0 };
        static const uint8_t small[] = { 0x80, 0x01, 0, 0, 0, 9, 0, 0, 0, 0 };
        char error[128];
        size_t len;
        assert_int_equal(ask(BYTES(good, sizeof(good)), 0, true, LONG, &len, error), 0);
        assert_int_equal(len, sizeof(good));
        assert_int_equal(ask(BYTES(good, sizeof(good)), 5, true, LONG, &len, error), 0);
        assert_int_equal(len, sizeof(good));
        static const struct {
                Bytes answer;
                bool stay;
                const char *error;
        } bad[] = {
                { { big, sizeof(big) }, true, "impossible size" },
                { { huge, sizeof(huge) }, true, "impossible size" },
                { { small, sizeof(small) }, true, "impossible size" },
                { { good, 5 }, false, "closed the connection" },
                { { good, 11 }, false, "closed the connection" },
                { { good, 0 }, false, "closed the connection" },
                { { good, 11 }, true, "did not answer in time" },
                { { good, 0 }, true, "did not answer in time" },
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                bool silent = strstr(bad[i].error, "in time");
                assert_int_equal(
                        ask(bad[i].answer, 0, bad[i].stay, silent ? SHORT : LONG, &len, error),
                        TSS2_TCTI_RC_IO_ERROR);
                if (!strstr(error, bad[i].error))
                        fail_msg("case %zu: %s", i, error);
        }
}

/* Nobody accepts, and the backlog is full. */
static void test_connect_deadline(void **state)
{
        Server s;
        Reason reason;
        Tcti *t[8] = { 0 };
        int r = 0;
        server_listen(&s);
        usec_t start = now_boottime();
        for (size_t i = 0; i < ELEMENTSOF(t) && r == 0; i++)
                r = tcti_new(s.config, &t[i], &reason);
        usec_t took = now_boottime() - start;
        assert_int_equal(r, -ETIMEDOUT);
        assert_true(took >= TCTI_CONNECT_TIMEOUT && took < 2 * TCTI_CONNECT_TIMEOUT);
        for (size_t i = 0; i < ELEMENTSOF(t); i++)
                tcti_free(t[i]);
        server_stop(&s);
}

static void test_config(void **state)
{
        static const struct {
                const char *config;
                int error;
        } bad[] = {
                { "swtpm:", -EINVAL },
                { "swtpm:path=", -EINVAL },
                { "swtpm:path=/nonexistent/sock", -ENOENT },
                { "swtpm:host=", -EINVAL },
                { "swtpm:host=127.0.0.1,port=0", -EINVAL },
                { "swtpm:host=127.0.0.1,port=65536", -EINVAL },
                { "swtpm:host=127.0.0.1,color=red", -EINVAL },
                { "swtpm:host=127.0.0.1,port=1", -ECONNREFUSED },
                { "device:/nonexistent/tpm", -ENOENT },
                { "device:", -ENOENT },
                { "nonsense:x", -EINVAL },
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                Tcti *t = NULL;
                Reason reason = { 0 };
                int r = tcti_new(bad[i].config, &t, &reason);
                if (r != bad[i].error || !reason.text[0])
                        fail_msg("%s: %d, not %d", bad[i].config, r, bad[i].error);
                assert_null(t);
        }
}

/* On a fiber the loop goes on; off it, the deadline holds all the same. */
typedef struct Turn {
        Loop *loop;
        Tcti *tcti;
        LoopSource *ticker;
        unsigned ticks;
        TSS2_RC rc;
} Turn;

static int on_tick(void *userdata)
{
        Turn *t = userdata;
        t->ticks++;
        return loop_timer_arm_relative(t->ticker, 5 * USEC_PER_MSEC);
}

static void exchange_on_fiber(void *userdata)
{
        Turn *t = userdata;
        uint8_t buf[4096];
        size_t len;
        t->rc = exchange(t->tcti, buf, &len);
        loop_exit(t->loop, 0);
}

static void turn_run(Turn *t, TSS2_RC expected)
{
        tcti_attach(t->tcti, t->loop);
        tcti_set_timeout(t->tcti, expected == 0 ? LONG : SHORT);
        assert_int_equal(loop_add_timer(t->loop, &t->ticker, LOOP_FATAL, on_tick, t), 0);
        assert_int_equal(loop_timer_arm_relative(t->ticker, 0), 0);
        assert_int_equal(fiber_spawn(exchange_on_fiber, t), 0);
        assert_int_equal(loop_run(t->loop), 0);
        assert_int_equal(t->rc, expected);
        assert_true(t->ticks > 5);
        loop_source_free(t->ticker);
        tcti_free(t->tcti);
        loop_free(t->loop);
}

static void run_on_fiber(Bytes answer, int pause, TSS2_RC expected)
{
        Server s;
        Reason reason;
        Turn t = { .rc = 1 };
        server_start(&s, answer, pause, true);
        assert_int_equal(loop_new(&t.loop), 0);
        assert_int_equal(tcti_new(s.config, &t.tcti, &reason), 0);
        turn_run(&t, expected);
        server_stop(&s);
}

static void test_fiber(void **state)
{
        static const uint8_t good[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 1, 2 };
        run_on_fiber(BYTES(good, sizeof(good)), 15, 0);
        run_on_fiber(BYTES(good, 0), 0, TSS2_TCTI_RC_IO_ERROR);
}

/* A terminal stands in for the character device: the answers come from swtpm or from nobody. */
typedef struct Device {
        char directory[64], config[128];
        int master, slave; /* held open: without a slave the master reads an error */
        pid_t swtpm;
} Device;

static void device_open(Device *d)
{
        struct termios raw;
        char path[64];
        d->swtpm = -1;
        d->master = posix_openpt(O_RDWR | O_NOCTTY);
        assert_true(d->master >= 0);
        assert_int_equal(grantpt(d->master) | unlockpt(d->master), 0);
        assert_int_equal(ptsname_r(d->master, path, sizeof(path)), 0);
        d->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(d->slave >= 0);
        assert_int_equal(tcgetattr(d->master, &raw), 0);
        cfmakeraw(&raw);
        assert_int_equal(tcsetattr(d->master, TCSANOW, &raw), 0);
        snprintf(d->config, sizeof(d->config), "device:%s", path);
        snprintf(d->directory, sizeof(d->directory), "/tmp/sallyport-tcti.XXXXXX");
        assert_non_null(mkdtemp(d->directory));
}

static void device_start_tpm(Device *d)
{
        char state[96], fd[16];
        snprintf(state, sizeof(state), "dir=%s", d->directory);
        snprintf(fd, sizeof(fd), "%d", d->master);
        d->swtpm = fork();
        if (d->swtpm != 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("swtpm", "swtpm", "chardev", "--tpm2", "--fd", fd, "--tpmstate", state, "--flags",
               "not-need-init,startup-clear", "--seccomp", "action=none", NULL);
        _exit(127);
}

static void device_close(Device *d)
{
        char state[96];
        if (d->swtpm > 0) {
                kill(d->swtpm, SIGKILL);
                waitpid(d->swtpm, NULL, 0);
        }
        close(d->master);
        close(d->slave);
        const char *const files[] = { "tpm2-00.permall", ".lock" };
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                snprintf(state, sizeof(state), "%s/%s", d->directory, files[i]);
                unlink(state);
        }
        assert_int_equal(rmdir(d->directory), 0);
}

/* Started already: TPM_RC_INITIALIZE. */
static const uint8_t initialized[] = { 0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 0 };

static void test_device(void **state)
{
        Device d;
        Tcti *t = NULL;
        Reason reason;
        uint8_t buf[4096];
        size_t len;
        device_open(&d);
        assert_int_equal(tcti_new(d.config, &t, &reason), 0);
        device_start_tpm(&d);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(exchange(t, buf, &len), 0);
                assert_int_equal(len, sizeof(initialized));
                assert_memory_equal(buf, initialized, sizeof(initialized));
        }
        assert_false(tcti_broken(t));
        assert_int_equal(tcti_reconnect(t, &reason), 0);
        assert_int_equal(exchange(t, buf, &len), 0);
        tcti_free(t);
        device_close(&d);
}

static void test_device_ends(void **state)
{
        Device d;
        Tcti *t = NULL;
        Reason reason;
        uint8_t buf[4096];
        size_t len;
        device_open(&d);
        assert_int_equal(tcti_new(d.config, &t, &reason), 0);
        device_close(&d);
        assert_int_equal(exchange(t, buf, &len), TSS2_TCTI_RC_IO_ERROR);
        assert_string_equal(tcti_error(t), "the TPM closed the connection");
        tcti_free(t);
}

/* A command that the chip never answers holds up neither the loop nor the end. */
static void test_device_silent(void **state)
{
        Device d;
        Reason reason;
        Turn t = { .rc = 1 };
        device_open(&d);
        assert_int_equal(loop_new(&t.loop), 0);
        assert_int_equal(tcti_new(d.config, &t.tcti, &reason), 0);
        turn_run(&t, TSS2_TCTI_RC_IO_ERROR);
        device_close(&d);
}

/* A chip that never answers keeps a thread for each time it is opened: not for ever more of them.
 */
static void test_device_silent_again(void **state)
{
        Device d;
        Tcti *t = NULL;
        Reason reason;
        uint8_t buf[4096];
        size_t len;
        unsigned n = 0;
        int r;
        device_open(&d);
        while ((r = tcti_new(d.config, &t, &reason)) == 0 && ++n < 100) {
                tcti_set_timeout(t, 10 * USEC_PER_MSEC);
                assert_int_equal(exchange(t, buf, &len), TSS2_TCTI_RC_IO_ERROR);
                t = tcti_free(t);
        }
        assert_int_equal(r, -EBUSY);
        assert_in_range(n, 2, 20);
        device_close(&d); /* now they end */
        device_open(&d);
        usec_t until = now_boottime() + LONG;
        while ((r = tcti_new(d.config, &t, &reason)) == -EBUSY && now_boottime() < until)
                poll(NULL, 0, 5);
        assert_int_equal(r, 0);
        tcti_free(t);
        device_close(&d);
}

typedef struct Busy {
        Server server;
        Tcti *tcti;
        Loop *loop;
        LoopSource *timer;
        unsigned ticks, waiting;
        int result;
} Busy;

static void reconnect(void *userdata)
{
        Busy *b = userdata;
        Reason reason;
        b->result = tcti_reconnect(b->tcti, &reason);
        loop_exit(b->loop, 0);
}

/* The loop turns; after a while there is room in the backlog. */
static int on_full(void *userdata)
{
        Busy *b = userdata;
        if (++b->ticks >= 10)
                while (b->waiting > 0) {
                        close(accept(b->server.listener, NULL, NULL));
                        b->waiting--;
                }
        return loop_timer_arm(b->timer, now_boottime() + 20 * USEC_PER_MSEC);
}

static int connect_to(const Server *s)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        memcpy(a.sun_path, s->path, strlen(s->path) + 1);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
                return fd;
        close(fd);
        return -1;
}

/* Connecting anew to a TPM that does not take the connection yet does not hold up the loop. */
static void test_reconnect(void **state)
{
        Busy b = { .result = 1 };
        Reason reason = { 0 };
        int fds[8], n = 0;
        server_listen(&b.server);
        assert_int_equal(tcti_new(b.server.config, &b.tcti, &reason), 0);
        assert_false(tcti_broken(b.tcti));
        close(accept(b.server.listener, NULL, NULL));
        assert_true(tcti_broken(b.tcti));
        while (n < 8 && (fds[n] = connect_to(&b.server)) >= 0)
                n++;
        assert_in_range(n, 1, 7);
        b.waiting = (unsigned)n;
        assert_int_equal(loop_new(&b.loop), 0);
        tcti_attach(b.tcti, b.loop);
        assert_int_equal(loop_add_timer(b.loop, &b.timer, LOOP_FATAL, on_full, &b), 0);
        assert_int_equal(loop_timer_arm(b.timer, now_boottime()), 0);
        assert_int_equal(fiber_spawn(reconnect, &b), 0);
        assert_int_equal(b.result, 1); /* it waits, on its fiber */
        assert_int_equal(loop_run(b.loop), 0);
        assert_int_equal(b.result, 0);
        assert_true(b.ticks >= 10);
        assert_false(tcti_broken(b.tcti));
        for (int i = 0; i < n; i++)
                close(fds[i]);
        loop_source_free(b.timer);
        tcti_free(b.tcti);
        loop_free(b.loop);
        server_stop(&b.server);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),       cmocka_unit_test(test_connect_deadline),
                cmocka_unit_test(test_config),        cmocka_unit_test(test_fiber),
                cmocka_unit_test(test_device),        cmocka_unit_test(test_device_ends),
                cmocka_unit_test(test_device_silent), cmocka_unit_test(test_device_silent_again),
                cmocka_unit_test(test_reconnect),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
