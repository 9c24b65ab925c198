/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>

#include "base/bytes.h"
#include "base/util.h"

/* They would leave the terminal without echo. */
static const int ending[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP };

static volatile sig_atomic_t caught;

static void catch (int signal)
{
        caught = signal;
}

typedef struct Quiet {
        int fd;
        struct termios terminal;
        sigset_t mask;
        struct sigaction actions[ELEMENTSOF(ending)];
} Quiet;

/* The signals are blocked but for the time of waiting, so that none slips in between. */
static int quiet_begin(int fd, Quiet *q)
{
        struct sigaction action = { .sa_handler = catch };
        sigset_t block;
        q->fd = fd;
        if (tcgetattr(fd, &q->terminal) < 0)
                return -ENOTTY;
        caught = 0;
        sigemptyset(&block);
        for (size_t i = 0; i < ELEMENTSOF(ending); i++)
                sigaddset(&block, ending[i]);
        sigprocmask(SIG_BLOCK, &block, &q->mask);
        for (size_t i = 0; i < ELEMENTSOF(ending); i++)
                sigaction(ending[i], &action, &q->actions[i]);
        struct termios t = q->terminal;
        t.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
        t.c_lflag |= ICANON | ISIG;
        tcsetattr(fd, TCSAFLUSH, &t);
        return 0;
}

/* What was caught comes again, now with what it does otherwise. */
static void quiet_end(Quiet *q)
{
        tcsetattr(q->fd, TCSAFLUSH, &q->terminal);
        for (size_t i = 0; i < ELEMENTSOF(ending); i++)
                sigaction(ending[i], &q->actions[i], NULL);
        if (caught)
                raise(caught);
        sigprocmask(SIG_SETMASK, &q->mask, NULL);
}

/* 1 and a character, 0 at the end. */
static int next_character(const Quiet *q, char *ret)
{
        struct pollfd p = { .fd = q->fd, .events = POLLIN };
        while (ppoll(&p, 1, NULL, &q->mask) < 0)
                if (errno != EINTR || caught)
                        return -ECANCELED;
        ssize_t n = read(q->fd, ret, 1);
        return n < 0 ? -errno : (int)n;
}

static int read_line(const Quiet *q, char *ret, size_t size)
{
        size_t len = 0;
        for (;;) {
                char c;
                int r = next_character(q, &c);
                if (r <= 0)
                        return r < 0 ? r : -ECANCELED;
                if (c == '\n')
                        break;
                if (len < size)
                        ret[len++] = c;
        }
        if (len == size)
                return -EMSGSIZE;
        ret[len] = 0;
        return 0;
}

static void say(int fd, const char *text)
{
        if (write(fd, text, strlen(text)) < 0)
                return; /* who does not see the question may still know it */
}

int terminal_ask_secret(const char *question, char *ret, size_t size)
{
        _cleanup_close_ int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        Quiet q;
        if (fd < 0 || quiet_begin(fd, &q) < 0)
                return -ENOTTY;
        say(fd, question);
        int r = read_line(&q, ret, size);
        if (r < 0)
                explicit_bzero(ret, size);
        say(fd, "\n");
        quiet_end(&q);
        return r;
}
