/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The shapes that responses to CoAP devices have. Each answers the ticket. */

#include "platform/coapserver.h"

void coap_reply(CoapTicket *t, uint8_t code);
void coap_reply_body(CoapTicket *t, uint8_t code, int content_format, Bytes body);
/* Not to be cached by anybody. */
void coap_reply_fresh(CoapTicket *t, uint8_t code, int content_format, Bytes body);
/* Concise problem details (RFC 9290). `detail` may be NULL. */
void coap_reply_problem(CoapTicket *t, uint8_t code, const char *title, const char *detail);
