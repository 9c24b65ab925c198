/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A device that can misbehave: DTLS by OpenSSL, CoAP byte by byte. Blocking, for child processes;
 * every wait ends after some seconds. */

#include <openssl/ssl.h>

#include "coap-bench.h"

typedef struct CoapDevice {
        SSL_CTX *ctx;
        SSL *ssl;
        int fd;
} CoapDevice;

/* From 127.0.0.1:`local_port`; 0: any. `who` NULL: without a certificate. True when the handshake
 * is complete. */
bool device_open(CoapDevice *d, const Bench *b, const char *who, uint16_t local_port);
/* A handshake with what the caller has changed in `d->ctx` since device_prepare(). */
bool device_prepare(CoapDevice *d, const Bench *b, const char *who);
bool device_connect(CoapDevice *d, const Bench *b, uint16_t local_port);
/* The same with a session from before, or NULL. */
bool device_resume(CoapDevice *d, const Bench *b, uint16_t local_port, SSL_SESSION *session);
/* Forgets the session without telling the server. */
void device_vanish(CoapDevice *d);
void device_close(CoapDevice *d);

/* POST /t/x with message ID and token `mid`, "x" as its payload. */
bool device_post(CoapDevice *d, bool confirmable, uint16_t mid);
bool device_send(CoapDevice *d, const void *p, size_t len);
/* The next datagram's content: its length, 0 when the server closed the session, -1 when nothing
 * came. */
int device_receive(CoapDevice *d, uint8_t *p, size_t max, unsigned milliseconds);
/* Waits for a 2.04 of the type `type` (0 CON, 1 NON, 2 ACK) with token `mid`. */
bool device_expect_changed(CoapDevice *d, unsigned type, uint16_t mid, unsigned milliseconds);

/* A DTLS 1.2 ClientHello without a cookie, in the clear; returns its length. */
size_t device_client_hello(uint8_t ret[static 256]);
