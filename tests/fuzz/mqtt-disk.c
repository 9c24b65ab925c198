/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-disk.h"

#include <stdlib.h>

#include "base/list.h"

typedef enum OpType {
        OP_PUT,
        OP_REMOVE,
        OP_SUBMIT,
        OP_COMMIT,
} OpType;

typedef struct Op {
        List node;
        OpType type;
        bool begins; /* a group */
        MqttKey key;
        DiskPending pending;
        size_t len;
        uint8_t value[];
} Op;

static List ops = LIST_INIT(ops);       /* in the order of the calls */
static List held = LIST_INIT(held);     /* failed, and are tried again */
static List values = LIST_INIT(values); /* durable; sorted */
static bool begins = true;

static Op *op_of(List *i)
{
        return LIST_ENTRY(i, Op, node);
}

static Op *op_new(OpType type, const MqttKey *key, Bytes value)
{
        Op *o = calloc(1, sizeof(*o) + value.len);
        if (!o)
                abort();
        o->type = type;
        o->begins = begins;
        begins = false;
        if (key)
                o->key = *key;
        o->len = value.len;
        if (value.len > 0)
                memcpy(o->value, value.data, value.len);
        list_append(&ops, &o->node);
        return o;
}

static void op_free(Op *o)
{
        list_remove(&o->node);
        free(o);
}

static void clear(List *l)
{
        LIST_FOREACH_SAFE (i, l)
                op_free(op_of(i));
}

void disk_begin(void)
{
        begins = true;
}

void disk_put(const MqttKey *key, Bytes value)
{
        op_new(OP_PUT, key, value);
}

void disk_remove(const MqttKey *key)
{
        op_new(OP_REMOVE, key, BYTES(NULL, 0));
}

void disk_submit(const DiskPending *p)
{
        begins = true;
        op_new(OP_SUBMIT, NULL, BYTES(NULL, 0))->pending = *p;
}

void disk_commit(const DiskPending *p)
{
        op_new(OP_COMMIT, NULL, BYTES(NULL, 0))->pending = *p;
        begins = true;
}

static int compare(const MqttKey *a, const MqttKey *b)
{
        if (a->kind != b->kind)
                return a->kind < b->kind ? -1 : 1;
        if (a->a != b->a)
                return a->a < b->a ? -1 : 1;
        return a->b == b->b ? 0 : a->b < b->b ? -1 : 1;
}

/* Takes `o`. */
static void apply(Op *o)
{
        List *at = values.next;
        list_remove(&o->node);
        while (at != &values && compare(&op_of(at)->key, &o->key) < 0)
                at = at->next;
        if (at != &values && compare(&op_of(at)->key, &o->key) == 0) {
                at = at->next;
                op_free(op_of(at->prev));
        }
        if (o->type == OP_PUT)
                list_insert_before(at, &o->node);
        else
                op_free(o);
}

static void apply_held(void)
{
        LIST_FOREACH_SAFE (i, &held)
                apply(op_of(i));
}

/* The values in front of `ops`, up to the next group or whoever waits. */
static void take_group(bool success, bool lost)
{
        for (List *i; (i = list_first(&ops));) {
                Op *o = op_of(i);
                if (o->begins || o->type == OP_SUBMIT || o->type == OP_COMMIT)
                        return;
                if (lost) {
                        op_free(o);
                } else if (success) {
                        apply(o);
                } else {
                        list_remove(&o->node);
                        list_append(&held, &o->node);
                }
        }
}

bool disk_waits(void)
{
        LIST_FOREACH (i, &ops)
                if (op_of(i)->type == OP_SUBMIT || op_of(i)->type == OP_COMMIT)
                        return true;
        return false;
}

bool disk_settle(bool success, DiskPending *ret)
{
        if (success)
                apply_held();
        for (List *i; (i = list_first(&ops));) {
                Op *o = op_of(i);
                if (o->type == OP_PUT || o->type == OP_REMOVE) {
                        o->begins = false;
                        take_group(success, false);
                        continue;
                }
                *ret = o->pending;
                bool submitted = o->type == OP_SUBMIT;
                op_free(o);
                if (submitted)
                        take_group(success, !success);
                return true;
        }
        return false;
}

void disk_flush(void)
{
        apply_held();
        for (List *i; (i = list_first(&ops));) {
                op_of(i)->begins = false;
                if (op_of(i)->type == OP_SUBMIT || op_of(i)->type == OP_COMMIT)
                        abort();
                take_group(true, false);
        }
}

void disk_crash(void)
{
        clear(&ops);
        clear(&held);
        begins = true;
}

void disk_done(void)
{
        disk_crash();
        clear(&values);
}

size_t disk_values(void)
{
        size_t n = 0;
        LIST_FOREACH (i, &values)
                n++;
        return n;
}

int disk_read(uint8_t kind, MqttStoredEach each, void *each_userdata, void *userdata)
{
        int r = 0;
        LIST_FOREACH (i, &values) {
                const Op *o = op_of(i);
                if (o->key.kind == kind && r >= 0)
                        r = each(&o->key, BYTES(o->value, o->len), each_userdata);
        }
        return r;
}
