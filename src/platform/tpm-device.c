/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tpm-device.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/reader.h"
#include "platform/thread.h"

#define MESSAGE_MAX 4096 /* TPM_BUFSIZE of the kernel */
#define HEADER_SIZE 10   /* tag, size, code: TPM 2.0 Library Part 1, 18.4 */

/* One is in use at a time: the others wait for an answer that nobody else waits for any more. */
#define RELAYS_MAX 8

static atomic_uint n_relays;

typedef struct Relay {
        int device, socket; /* the socket's own end: the caller has the other */
        uint8_t message[MESSAGE_MAX];
} Relay;

static Relay *relay_new(void)
{
        Relay *r = calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        *r = (Relay){ .device = -1, .socket = -1 };
        atomic_fetch_add(&n_relays, 1);
        return r;
}

static void relay_free(Relay *r)
{
        if (r->device >= 0)
                close(r->device);
        if (r->socket >= 0)
                close(r->socket);
        explicit_bzero(r->message, sizeof(r->message));
        free(r);
        atomic_fetch_sub(&n_relays, 1);
}

/* Reads one message, whole by the size in its header. 0: the other side has closed between two. */
static ssize_t read_message(Relay *r, int fd)
{
        size_t have = 0, size = HEADER_SIZE;
        while (have < size) {
                /* The device hands its answer out once: no less may be asked for than there is. */
                size_t want = fd == r->device ? MESSAGE_MAX - have : size - have;
                ssize_t n = read(fd, r->message + have, want);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : have > 0 || fd == r->device ? -EPIPE : 0;
                have += (size_t)n;
                if (have < HEADER_SIZE)
                        continue;
                Reader header = reader_new(BYTES(r->message, HEADER_SIZE));
                reader_skip(&header, 2);
                size = reader_u32(&header);
                if (size < HEADER_SIZE || size > MESSAGE_MAX || have > size)
                        return -EPROTO;
        }
        return (ssize_t)size;
}

/* The device takes a command in one piece or not at all. */
static int write_message(int fd, const uint8_t *data, size_t size)
{
        for (size_t done = 0; done < size;) {
                ssize_t n = write(fd, data + done, size - done);
                if (n < 0 && errno != EINTR)
                        return -errno;
                done += n > 0 ? (size_t)n : 0;
        }
        return 0;
}

/* One command and its answer. 1: go on; 0: the caller has closed. */
static int exchange(Relay *r)
{
        ssize_t n = read_message(r, r->socket);
        if (n <= 0)
                return n == -ECONNRESET ? 0 : (int)n;
        int error = write_message(r->device, r->message, (size_t)n);
        if (error < 0)
                return error;
        n = read_message(r, r->device);
        if (n < 0)
                return (int)n;
        error = write_message(r->socket, r->message, (size_t)n);
        return error == -EPIPE ? 0 : error < 0 ? error : 1;
}

static void *thread_main(void *userdata)
{
        Relay *r = userdata;
        int outcome;
        pthread_setname_np(pthread_self(), "tpm");
        while ((outcome = exchange(r)) > 0)
                ;
        if (outcome < 0)
                log_warning_errno(outcome, "The TPM's device failed");
        relay_free(r);
        return NULL;
}

int tpm_device_open(const char *path, int *ret)
{
        int fds[2];
        if (atomic_load(&n_relays) >= RELAYS_MAX)
                return -EBUSY;
        Relay *relay = relay_new();
        if (!relay)
                return -ENOMEM;
        relay->device = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (relay->device < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
                int error = -errno;
                relay_free(relay);
                return error;
        }
        relay->socket = fds[1];
        int r = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : thread_start(thread_main, relay);
        if (r < 0) {
                close(fds[0]);
                relay_free(relay);
                return r;
        }
        *ret = fds[0];
        return 0;
}
