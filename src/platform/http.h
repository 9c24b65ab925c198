/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One HTTP request by libcurl, on the loop: GET or POST, over TLS 1.2 or newer or in the clear.
 *
 * The server is who its name says, by the authorities of one file and no others. Redirects, proxies
 * and compression are off; all that comes back is bounded. The name is looked up by
 * platform/resolve, because libcurl waits for its resolver's thread where a request is cancelled.
 *
 * A client certificate whose key is in the TPM signs in the middle of the handshake: then libcurl
 * runs on a fiber (platform/fiber.h), and nothing else is asked of it while that waits. */

#include "base/bytes.h"
#include "platform/credential.h"
#include "platform/loop.h"
#include "platform/reason.h"

#define HTTP_URL_MAX 1024

/* What is borrowed is copied by http_start(). Times: 0 is the default. */
typedef struct HttpRequest {
        const char *url;        /* http:// or https://, without a name and password in it */
        const char *ca;         /* https: PEM file with the authorities for the server */
        Credential *credential; /* of this client; NULL: none */
        const char *user;   /* "NAME:PASSWORD" for basic authentication over https; NULL: none */
        const char *accept; /* media type; NULL: any */
        bool post;          /* `body` goes there */
        Bytes body;
        const char *content_type;
        const char *content_encoding; /* Content-Transfer-Encoding, for servers that want one */
        /* Of the copy that is known, as its answer said: 304 when it still holds; or NULL. */
        const char *etag, *modified;
        size_t maximum;         /* bytes that the answer's body may have */
        usec_t connect_timeout; /* until the TLS handshake is done; 20 s */
        usec_t timeout;         /* of all of it; 1 min */
} HttpRequest;

/* Holds during the call. */
typedef struct HttpAnswer {
        bool answered;               /* false: there is no answer, `reason` says why */
        const char *reason;          /* half a sentence for an operator */
        unsigned status;             /* 200, ... */
        const char *type;            /* Content-Type, "" without one */
        const char *etag, *modified; /* Last-Modified; "" without */
        usec_t retry_after;          /* 0: nothing was said */
        Bytes body;
} HttpAnswer;

typedef struct Http Http;

/* Called once, from the loop; the request is gone then. */
typedef void (*HttpDone)(const HttpAnswer *answer, void *userdata);

/* -EINVAL: no such URL, or what it needs is missing; -ENOTSUP: this libcurl does not use OpenSSL;
 * -ENOMEM. Otherwise `done` will tell. */
int http_start(Loop *l, const HttpRequest *request, HttpDone done, void *userdata, Http **ret,
               Reason *reason);
/* `done` will not be called. At any moment, also while the TPM signs. Takes NULL, returns NULL. */
Http *http_cancel(Http *h);
