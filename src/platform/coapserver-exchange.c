/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The message layer of one request (RFC 7252 section 4): a response that is there in time rides on
 * the acknowledgement; one that takes longer becomes a message of its own. A repeated request gets
 * the same answer again and never reaches the daemon twice. */
#include "platform/coapserver-internal.h"

#include <string.h>

/* Well below ACK_TIMEOUT (2 s), so that nobody repeats a request that has arrived, and long enough
 * for a commit to disk: most answers then cost one datagram. */
#define ACK_DELAY (500 * USEC_PER_MSEC)

static unsigned code_class(uint8_t code)
{
        return code >> 5;
}

CoapTicket *exchange_find(CoapPeer *p, int mid, usec_t now)
{
        LIST_FOREACH (i, &p->exchanges) {
                CoapTicket *x = LIST_ENTRY(i, CoapTicket, link);
                if (x->mid == mid && now - x->received < COAPSERVER_EXCHANGE_LIFETIME)
                        return x;
        }
        return NULL;
}

static bool make_room(CoapPeer *p)
{
        if (p->n_exchanges < COAPSERVER_EXCHANGES_MAX)
                return true;
        LIST_FOREACH (i, &p->exchanges) {
                CoapTicket *x = LIST_ENTRY(i, CoapTicket, link);
                if (!x->answered || !list_empty(&x->out))
                        continue;
                exchange_free(x);
                return true;
        }
        return false;
}

CoapTicket *exchange_new(CoapPeer *p, const coap_pdu_t *pdu, usec_t now)
{
        coap_bin_const_t token = coap_pdu_get_token(pdu);
        if (token.length > COAPSERVER_TOKEN_MAX || !make_room(p))
                return NULL;
        CoapTicket *x = calloc(1, sizeof(*x));
        if (!x)
                return NULL;
        x->peer = p;
        x->mid = coap_pdu_get_mid(pdu);
        x->confirmable = coap_pdu_get_type(pdu) == COAP_MESSAGE_CON;
        x->token_len = token.length;
        if (token.length > 0)
                memcpy(x->token, token.s, token.length);
        x->received = now;
        list_append(&p->exchanges, &x->link);
        p->n_exchanges++;
        if (x->confirmable) {
                x->ack_at = usec_add(now, ACK_DELAY);
                list_append(&p->server->acks, &x->due);
                coapserver_arm(p->server);
        }
        return x;
}

CoapTicket *exchange_free(CoapTicket *x)
{
        list_remove(&x->link);
        list_remove(&x->due);
        list_remove(&x->out);
        x->peer->n_exchanges--;
        free(x->reply.payload);
        free(x);
        return NULL;
}

static void queue(CoapTicket *x)
{
        CoapServer *s = x->peer->server;
        list_remove(&x->out);
        list_append(&s->outbox, &x->out);
        loop_defer(s->work);
}

void exchange_repeat(CoapTicket *x)
{
        x->peer->server->stats.duplicates++;
        /* Unanswered and not yet acknowledged: the timer or the answer is going to do it. */
        if (x->confirmable && (x->answered || x->acknowledged))
                queue(x);
}

void coapserver_ticket_set(CoapTicket *t, void *operation)
{
        t->operation = operation;
}

/* Keeps what has to go out in later blocks; replaces what was there. */
static bool keep_large(CoapTicket *x, const CoapResponse *r)
{
        LargeBody *large = &x->peer->large;
        uint8_t *copy = malloc(r->body.len);
        if (!copy)
                return false;
        memcpy(copy, r->body.data, r->body.len);
        free(large->data);
        *large = (LargeBody){ .key = x->key,
                              .code = r->code,
                              .content_format = r->content_format,
                              .data = copy,
                              .len = r->body.len };
        return true;
}

static uint8_t reply_body(CoapTicket *x, const CoapResponse *r)
{
        Reply *reply = &x->reply;
        /* The peer's own choice of a block size tells what it can take. */
        Block b = { .num = x->has_block2 ? x->block2.num : 0,
                    .szx = x->has_block2   ? x->block2.szx
                           : x->has_block1 ? x->block1.szx
                                           : BLOCK_SZX_MAX };
        Bytes part;
        if (!block_slice(r->body, &b, &part))
                return COAPSERVER_CODE(4, 0);
        if (part.len > 0) {
                reply->payload = malloc(part.len);
                if (!reply->payload)
                        return COAPSERVER_CODE(5, 0);
                memcpy(reply->payload, part.data, part.len);
                reply->len = part.len;
        }
        if (b.more || b.num > 0) {
                reply->has_block2 = true;
                reply->block2 = b;
                reply->size2 = (uint32_t)r->body.len;
        }
        bool from_large = x->peer->large.data && x->peer->large.data == r->body.data;
        if (b.more && !from_large && !keep_large(x, r))
                return COAPSERVER_CODE(5, 0);
        return r->code;
}

void coapserver_respond(CoapTicket *x, const CoapResponse *r)
{
        Reply *reply = &x->reply;
        reply->content_format = r->content_format;
        reply->max_age = r->max_age;
        reply->code = reply_body(x, r);
        if (reply->code != r->code) {
                free(reply->payload);
                *reply = (Reply){ .code = reply->code,
                                  .content_format = COAPSERVER_NONE,
                                  .max_age = COAPSERVER_NONE };
        }
        if (x->has_block1 && code_class(reply->code) == 2) {
                reply->has_block1 = true;
                reply->block1 = x->block1;
        }
        if (reply->code == COAPSERVER_CODE(4, 13))
                reply->size1 = (uint32_t)x->peer->server->options.max_body;
        x->answered = true;
        x->operation = NULL;
        list_remove(&x->due);
        queue(x);
}

static bool add_uint(coap_pdu_t *pdu, coap_option_num_t number, uint32_t v)
{
        uint8_t value[4];
        unsigned len = coap_encode_var_safe(value, sizeof(value), v);
        return coap_add_option(pdu, number, len, value) > 0;
}

static bool add_block(coap_pdu_t *pdu, coap_option_num_t number, const Block *b)
{
        uint8_t value[3];
        size_t len = block_encode(b, value);
        return coap_add_option(pdu, number, len, value) > 0;
}

/* In the order of option numbers, as libcoap wants it. */
static bool fill(coap_pdu_t *pdu, const CoapTicket *x)
{
        const Reply *r = &x->reply;
        return coap_add_token(pdu, x->token_len, x->token) &&
               (r->content_format < 0 ||
                add_uint(pdu, COAP_OPTION_CONTENT_FORMAT, (uint32_t)r->content_format)) &&
               (r->max_age < 0 || add_uint(pdu, COAP_OPTION_MAXAGE, (uint32_t)r->max_age)) &&
               (!r->has_block2 || add_block(pdu, COAP_OPTION_BLOCK2, &r->block2)) &&
               (!r->has_block1 || add_block(pdu, COAP_OPTION_BLOCK1, &r->block1)) &&
               (r->size2 == 0 || add_uint(pdu, COAP_OPTION_SIZE2, r->size2)) &&
               (r->size1 == 0 || add_uint(pdu, COAP_OPTION_SIZE1, r->size1)) &&
               (r->len == 0 || coap_add_data(pdu, r->len, r->payload));
}

static void send_empty_ack(coap_session_t *session, int mid)
{
        coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, (coap_mid_t)mid, 0);
        if (pdu)
                coap_send(session, pdu);
}

static void send_reply(CoapTicket *x, coap_pdu_type_t type)
{
        coap_session_t *session = x->peer->session;
        coap_mid_t mid = type == COAP_MESSAGE_ACK ? (coap_mid_t)x->mid
                                                  : (coap_mid_t)coap_new_message_id(session);
        coap_pdu_t *pdu = coap_pdu_init(type, (coap_pdu_code_t)x->reply.code, mid,
                                        coap_session_max_pdu_size(session));
        if (pdu && fill(pdu, x))
                coap_send(session, pdu);
        else if (pdu)
                coap_delete_pdu(pdu);
}

/* Sending may find the session broken and free the exchange with its peer: each branch sends once
 * and looks at nothing afterwards. */
void exchange_send(CoapTicket *x)
{
        coap_session_t *session = x->peer->session;
        bool unwanted = x->answered && (x->suppress >> (code_class(x->reply.code) - 1) & 1) != 0;
        if (!x->confirmable) {
                if (!unwanted)
                        send_reply(x, COAP_MESSAGE_NON);
        } else if (!x->answered || x->separate || (unwanted && !x->acknowledged)) {
                /* libcoap itself repeats a separate response until it is acknowledged. */
                x->acknowledged = true;
                x->separate = x->separate || x->answered;
                send_empty_ack(session, x->mid);
        } else if (x->acknowledged) {
                x->separate = true;
                if (!unwanted)
                        send_reply(x, COAP_MESSAGE_CON);
        } else {
                send_reply(x, COAP_MESSAGE_ACK);
        }
}
