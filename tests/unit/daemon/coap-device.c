/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "coap-device.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>

bool device_prepare(CoapDevice *d, const Bench *b, const char *who)
{
        *d = (CoapDevice){ .ctx = SSL_CTX_new(DTLS_client_method()), .fd = -1 };
        if (!who)
                return true;
        char path[128], file[64];
        snprintf(file, sizeof(file), "%s.pem", who);
        bench_path(b, file, path);
        if (SSL_CTX_use_certificate_file(d->ctx, path, SSL_FILETYPE_PEM) != 1)
                return false;
        snprintf(file, sizeof(file), "%s.key", who);
        bench_path(b, file, path);
        return SSL_CTX_use_PrivateKey_file(d->ctx, path, SSL_FILETYPE_PEM) == 1;
}

static bool bind_and_connect(CoapDevice *d, const Bench *b, uint16_t local_port)
{
        struct sockaddr_in local = { .sin_family = AF_INET,
                                     .sin_port = htons(local_port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_in server = local;
        server.sin_port = htons(b->port);
        d->fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(d->fd, (struct sockaddr *)&local, sizeof(local)) < 0 ||
            connect(d->fd, (struct sockaddr *)&server, sizeof(server)) < 0)
                return false;
        BIO *bio = BIO_new_dgram(d->fd, BIO_NOCLOSE);
        BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &server);
        SSL_set_bio(d->ssl, bio, bio);
        return true;
}

bool device_connect(CoapDevice *d, const Bench *b, uint16_t local_port)
{
        return device_resume(d, b, local_port, NULL);
}

bool device_resume(CoapDevice *d, const Bench *b, uint16_t local_port, SSL_SESSION *session)
{
        d->ssl = SSL_new(d->ctx);
        if (session && SSL_set_session(d->ssl, session) != 1)
                return false;
        if (!bind_and_connect(d, b, local_port))
                return false;
        SSL_set_options(d->ssl, SSL_OP_NO_QUERY_MTU);
        SSL_set_mtu(d->ssl, 1400);
        BIO_socket_nbio(d->fd, 1);
        usec_t end = now_boottime() + 8 * USEC_PER_SEC;
        while (now_boottime() < end) {
                int r = SSL_connect(d->ssl);
                if (r == 1)
                        return true;
                int e = SSL_get_error(d->ssl, r);
                if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
                        return false;
                struct pollfd p = { .fd = d->fd, .events = POLLIN };
                poll(&p, 1, 100);
                DTLSv1_handle_timeout(d->ssl);
        }
        return false;
}

bool device_open(CoapDevice *d, const Bench *b, const char *who, uint16_t local_port)
{
        return device_prepare(d, b, who) && device_connect(d, b, local_port);
}

void device_vanish(CoapDevice *d)
{
        SSL_set_quiet_shutdown(d->ssl, 1);
        SSL_free(d->ssl);
        SSL_CTX_free(d->ctx);
        close(d->fd);
}

void device_close(CoapDevice *d)
{
        SSL_shutdown(d->ssl);
        device_vanish(d);
}

bool device_send(CoapDevice *d, const void *p, size_t len)
{
        return SSL_write(d->ssl, p, (int)len) == (int)len;
}

bool device_post(CoapDevice *d, bool confirmable, uint16_t mid)
{
        const uint8_t message[] = { confirmable ? 0x42 : 0x52,
                                    0x02,
                                    (uint8_t)(mid >> 8),
                                    (uint8_t)mid,
                                    (uint8_t)(mid >> 8),
                                    (uint8_t)mid,
                                    0xb1,
                                    't',
                                    0x01,
                                    'x',
                                    0xff,
                                    'x' };
        return device_send(d, message, sizeof(message));
}

int device_receive(CoapDevice *d, uint8_t *p, size_t max, unsigned milliseconds)
{
        usec_t end = now_boottime() + milliseconds * USEC_PER_MSEC;
        for (;;) {
                int n = SSL_read(d->ssl, p, (int)max);
                if (n > 0)
                        return n;
                if (SSL_get_error(d->ssl, n) == SSL_ERROR_ZERO_RETURN)
                        return 0;
                usec_t now = now_boottime();
                if (now >= end)
                        return -1;
                struct pollfd w = { .fd = d->fd, .events = POLLIN };
                poll(&w, 1, (int)((end - now) / USEC_PER_MSEC) + 1);
        }
}

bool device_expect_changed(CoapDevice *d, unsigned type, uint16_t mid, unsigned milliseconds)
{
        uint8_t m[1500];
        int n = device_receive(d, m, sizeof(m), milliseconds);
        return n == 6 && m[0] == (0x42 | type << 4) && m[1] == 0x44 && m[4] == mid >> 8 &&
               m[5] == (mid & 0xff);
}

size_t device_client_hello(uint8_t ret[static 256])
{
        /* Record, handshake header, body: version, random, no session, no cookie, two suites,
         * null compression, and the groups, point formats and signature algorithms. */
        static const uint8_t body_tail[] = { 0, 0,  0, 4,  0xc0, 0x2b, 0, 0xff, 1, 0,  0, 22,
                                             0, 10, 0, 4,  0,    2,    0, 23,   0, 11, 0, 2,
                                             1, 0,  0, 13, 0,    4,    0, 2,    4, 3 };
        size_t body = 2 + 32 + sizeof(body_tail);
        uint8_t *p = ret;
        memset(p, 0, 256);
        p[0] = 22;
        p[1] = 0xfe;
        p[2] = 0xff;
        p[12] = (uint8_t)(12 + body);
        p[13] = 1;
        p[16] = p[24] = (uint8_t)body;
        p[25] = 0xfe;
        p[26] = 0xfd;
        memset(p + 27, 0x77, 32);
        memcpy(p + 59, body_tail, sizeof(body_tail));
        return 25 + body;
}
