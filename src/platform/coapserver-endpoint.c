/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libcoap's sockets, which it does not hand out and does not look after. */
#include "platform/coapserver-internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define RECEIVE_BUFFER (4 << 20)

static bool known_endpoint(const CoapServer *s, int fd)
{
        for (size_t i = 0; i < s->n_endpoints; i++)
                if (s->endpoints[i] == fd)
                        return true;
        return false;
}

/* libcoap does not hand out its sockets; the kernel tells what its epoll set holds. */
static int new_socket(const CoapServer *s)
{
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", coap_context_get_coap_fd(s->context));
        FILE *f = fopen(path, "re");
        if (!f)
                return -errno;
        char line[256];
        int found = -ENOENT;
        while (found < 0 && fgets(line, sizeof(line), f)) {
                int fd, domain;
                socklen_t len = sizeof(domain);
                if (sscanf(line, "tfd: %d", &fd) == 1 && !known_endpoint(s, fd) &&
                    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0)
                        found = fd;
        }
        fclose(f);
        return found;
}

static void set_receive_buffer(int fd)
{
        int size = RECEIVE_BUFFER;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
                log_warning_errno(-errno, "Cannot raise the CoAP receive buffer, ignoring");
}

/* libcoap binds with SO_REUSEADDR, which for UDP lets another program take the datagrams. So
 * nobody may have the address before, and nobody may share it after. */
static int take_socket(int fd)
{
        int off = 0;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)) < 0 ||
            fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        set_receive_buffer(fd);
        return 0;
}

static int probe(const struct sockaddr_storage *address, socklen_t len)
{
        _cleanup_close_ int fd = socket(address->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)address, len) < 0)
                return -errno;
        return 0;
}

int coapserver_listen(CoapServer *s, const struct sockaddr_storage *address)
{
        if (s->n_endpoints == COAPSERVER_ENDPOINTS_MAX)
                return -ENOSPC;
        coap_address_t a;
        coap_address_init(&a);
        a.size = address->ss_family == AF_INET6 ? sizeof(a.addr.sin6) : sizeof(a.addr.sin);
        memcpy(&a.addr, address, a.size);
        int r = probe(address, a.size);
        if (r < 0)
                return r;
        coap_endpoint_t *endpoint = coap_new_endpoint(s->context, &a, COAP_PROTO_DTLS);
        if (!endpoint)
                return -EADDRNOTAVAIL;
        int fd = new_socket(s);
        r = fd < 0 ? fd : take_socket(fd);
        if (r < 0) {
                coap_free_endpoint(endpoint);
                return r;
        }
        s->endpoints[s->n_endpoints++] = fd;
        return 0;
}

void coapserver_clear_errors(CoapServer *s)
{
        for (size_t i = 0; i < s->n_endpoints; i++) {
                int error = 0;
                socklen_t len = sizeof(error);
                if (getsockopt(s->endpoints[i], SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
                    error != 0)
                        s->stats.socket_errors++;
        }
}

static bool is_its_own_broadcast(const struct ifaddrs *i)
{
        if (!(i->ifa_flags & IFF_BROADCAST) || !i->ifa_addr || !i->ifa_broadaddr ||
            i->ifa_addr->sa_family != AF_INET)
                return false;
        const struct sockaddr_in *a = (const struct sockaddr_in *)i->ifa_addr;
        const struct sockaddr_in *b = (const struct sockaddr_in *)i->ifa_broadaddr;
        return a->sin_addr.s_addr == b->sin_addr.s_addr;
}

/* libcoap (since 4.3.2) takes a request to a broadcast address for a multicast one and drops it.
 * For an address that has none (`ip addr add` without `brd`) libc says that it is its own
 * broadcast address, and every request to it would vanish. This stands in front of libc's
 * getifaddrs() for the whole process: such an entry loses its broadcast flag. */
__attribute__((visibility("default"))) int getifaddrs(struct ifaddrs **ret)
{
        int (*libc)(struct ifaddrs **) = NULL;
        *(void **)&libc = dlsym(RTLD_NEXT, "getifaddrs");
        if (!libc) {
                errno = ENOSYS;
                return -1;
        }
        int r = libc(ret);
        for (struct ifaddrs *i = r == 0 ? *ret : NULL; i; i = i->ifa_next)
                if (is_its_own_broadcast(i))
                        i->ifa_flags &= ~(unsigned)IFF_BROADCAST;
        return r;
}
