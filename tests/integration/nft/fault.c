/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stands between the program and libmnl (the linker's --wrap). Only batches of nftables are
 * concerned; the conntrack thread uses the same functions. */
#include "fault.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct {
        const char *set;
        uint8_t address[4];
        bool lose, interrupt;
        int error;
        uint32_t n;
        int fd;         /* of the batch whose answer is to be lost, else -1 */
        int fd_answers; /* of the last batch */
} fault = { .fd = -1, .fd_answers = -1 };

void fault_none(void)
{
        free((char *)fault.set);
        memset(&fault, 0, sizeof(fault));
        fault.fd = fault.fd_answers = -1;
}

void fault_refuse(const char *set, const uint8_t address[static 4])
{
        fault_none();
        fault.set = strdup(set);
        memcpy(fault.address, address, 4);
}

void fault_batches(bool lose, int error, uint32_t n)
{
        fault_none();
        fault.lose = lose;
        fault.error = error;
        fault.n = n;
}

void fault_interrupt(void)
{
        fault_none();
        fault.interrupt = true;
}

/* Another name for the set: there is none such in the table. */
static void spoil(struct nlmsghdr *h)
{
        uint8_t *data = (uint8_t *)h;
        uint8_t *name = memmem(data, h->nlmsg_len, fault.set, strlen(fault.set) + 1);

        if (name && memmem(data, h->nlmsg_len, fault.address, 4))
                memset(name, 'x', strlen(fault.set));
}

static void spoil_all(void *batch, size_t len)
{
        int left = (int)len;

        for (struct nlmsghdr *h = batch; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
                if (h->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
                        spoil(h);
}

ssize_t __real_mnl_socket_sendto(const struct mnl_socket *s, const void *data, size_t len);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *s, const void *data, size_t len);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *s, const void *data, size_t len)
{
        void *copy;
        ssize_t r;

        if (((const struct nlmsghdr *)data)->nlmsg_type != NFNL_MSG_BATCH_BEGIN)
                return __real_mnl_socket_sendto(s, data, len);
        fault.fd_answers = mnl_socket_get_fd(s);
        if (fault.n > 0) {
                fault.n--;
                if (!fault.lose) {
                        errno = fault.error;
                        return -1;
                }
                fault.fd = mnl_socket_get_fd(s);
        }
        if (!fault.set)
                return __real_mnl_socket_sendto(s, data, len);
        copy = malloc(len);
        if (!copy)
                return -1;
        memcpy(copy, data, len);
        spoil_all(copy, len);
        r = __real_mnl_socket_sendto(s, copy, len);
        free(copy);
        return r;
}

ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
        if (fault.fd == fd) {
                fault.fd = -1;
                errno = fault.error;
                return -1;
        }
        if (fault.interrupt && fault.fd_answers == fd) {
                fault.interrupt = false;
                errno = EINTR;
                return -1;
        }
        return __real_recv(fd, data, len, flags);
}
