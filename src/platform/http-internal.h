/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by http.c, which drives a request, and http-request.c, which describes it to libcurl. */

#include <curl/curl.h>

#include "base/buf.h"
#include "platform/http.h"
#include "platform/resolve.h"

/* Connections that are tried at once, with room to spare. */
#define HTTP_SOCKETS_MAX 8

typedef struct HttpSocket {
        curl_socket_t fd;
        int wanted; /* CURL_POLL_*; CURL_POLL_REMOVE: this place is free */
        LoopSource *source;
} HttpSocket;

struct Http {
        Loop *loop;
        HttpDone done;
        void *userdata;

        char *url, *host, *ca;
        uint16_t port;
        uint8_t *body_out;
        Credential *credential;
        usec_t timeout;
        struct curl_slist *headers, *addresses;
        char error[CURL_ERROR_SIZE];

        CURLM *multi;
        CURL *easy;
        bool added; /* to the multi */
        HttpSocket sockets[HTTP_SOCKETS_MAX];
        LoopSource *timer, *deadline, *report;
        Resolve *resolve;

        curl_socket_t action_fd; /* what the call under way is about */
        int action_events;
        bool busy;      /* it may wait on a fiber */
        bool abandoned; /* cancelled while busy: the fiber cleans up */
        bool timer_due; /* it came while busy */

        bool finished;
        CURLcode result;
        Reason reason; /* why there is no answer, where libcurl does not know; "" otherwise */
        size_t head;   /* bytes of header lines */
        bool too_large, handshaken;
        char alert[64]; /* what the server said in TLS before it went away */
        size_t maximum;
        Buf body;
};

/* http-request.c: sets `h->easy` up. 0, -EINVAL, -ENOTSUP, -ENOMEM. */
int http_describe(Http *h, const HttpRequest *r, Reason *reason);
/* After the end: what libcurl makes of `h->result`. */
void http_explain(Http *h);
void http_read_answer(Http *h, HttpAnswer *ret);
