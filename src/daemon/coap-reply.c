/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/coap-reply.h"

#include "proto/coap.h"
#include "proto/problem.h"

/* When a device may try again: one second after 4.29, half a minute while there is no room
 * (RFC 8516; RFC 7252 section 5.9.3.4). */
static int64_t retry_after(uint8_t code)
{
        if (code == COAPSERVER_CODE(4, 29))
                return 1;
        if (code == COAPSERVER_CODE(5, 3))
                return 30;
        return COAPSERVER_NONE;
}

void coap_reply(CoapTicket *t, uint8_t code)
{
        coapserver_respond(t, &(CoapResponse){ .code = code,
                                               .content_format = COAPSERVER_NONE,
                                               .max_age = COAPSERVER_NONE });
}

void coap_reply_body(CoapTicket *t, uint8_t code, int content_format, Bytes body)
{
        coapserver_respond(t, &(CoapResponse){ .code = code,
                                               .content_format = content_format,
                                               .max_age = COAPSERVER_NONE,
                                               .body = body });
}

void coap_reply_fresh(CoapTicket *t, uint8_t code, int content_format, Bytes body)
{
        coapserver_respond(t, &(CoapResponse){ .code = code,
                                               .content_format = content_format,
                                               .max_age = 0,
                                               .body = body });
}

void coap_reply_problem(CoapTicket *t, uint8_t code, const char *title, const char *detail)
{
        _cleanup_buf_ Buf buf = BUF_INIT(PROBLEM_MAX);
        /* The code says the most; the words are left out when they do not fit. */
        bool told = problem_write(&(Problem){ .title = title, .detail = detail }, &buf) == 0;
        coapserver_respond(t,
                           &(CoapResponse){
                                   .code = code,
                                   .content_format = told ? COAP_FORMAT_PROBLEM : COAPSERVER_NONE,
                                   .max_age = retry_after(code),
                                   .body = told ? buf_view(&buf) : BYTES(NULL, 0),
                           });
}
