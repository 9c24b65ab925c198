/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The D-Bus interface org.sallyport.Gateway1, both ends. Methods take strings and give JSON
 * objects; on the wire an object is a{sv}, an array of objects aa{sv}, so that busctl, scripts
 * and pages read typed values without knowing JSON. Null members are left out. */

#include <jansson.h>

#include "platform/loop.h"

#define BUS_NAME      "org.sallyport.Gateway1"
#define BUS_PATH      "/org/sallyport/Gateway1"
#define BUS_INTERFACE "org.sallyport.Gateway1"
#define BUS_ARGS_MAX  4

typedef enum BusResult {
        BUS_RESULT_NOTHING,
        BUS_RESULT_OBJECT,  /* a{sv} */
        BUS_RESULT_OBJECTS, /* aa{sv} */
} BusResult;

/* `ret` gets a new reference where the method has a result. 0, or a negative errno with a
 * sentence for the caller in `ret_message` (static, or NULL for the errno's own). */
typedef int (*BusHandler)(const char *const *args, json_t **ret, const char **ret_message,
                          void *userdata);

/* A call that is answered later. */
typedef struct BusCall BusCall;
/* Takes the call over: bus_answer() has to come, from in here or from the loop. */
typedef void (*BusLater)(BusCall *call, void *userdata);
/* 0: nothing is the result; or a negative errno with a sentence for the caller, or NULL. Frees the
 * call, whose caller may be gone. */
void bus_answer(BusCall *call, int error, const char *message);

typedef struct BusMethod {
        const char *name;
        unsigned n_args;   /* all strings */
        const char *names; /* of arguments and result, each with its NUL: "device\0result\0" */
        BusResult result;
        BusHandler handler;
        BusLater later; /* instead of the handler: no arguments, no result */
} BusMethod;

typedef struct BusSignal {
        const char *name;
        unsigned n_args;
        const char *names;
} BusSignal;

/* Called once, from the loop: callers reach the methods now, or will not before the bus works. */
typedef void (*BusSettled)(void *userdata);

typedef struct Bus Bus;

/* Serves both tables (ended by a NULL name, must outlive the bus) on the system bus. While there
 * is none it goes on trying: the gateway works without. `settled` may be NULL. */
int bus_serve(Loop *loop, const BusMethod *methods, const BusSignal *signals, BusSettled settled,
              void *userdata, Bus **ret);
Bus *bus_free(Bus *b);
DEFINE_CLEANUP(Bus, bus_free)
/* Sends a signal of the table; silently not while there is no bus. */
void bus_emit(Bus *b, const char *signal, const char *const *args);

/* Calls a method of the running daemon; blocks: for command lines. `ret` may be NULL. On failure
 * a negative errno and in `ret_message` a new string that says what to do. */
int bus_call(const char *method, const char *const *args, unsigned n_args, json_t **ret,
             char **ret_message);
