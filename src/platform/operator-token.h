/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The one token that a PKCS#11 URI (RFC 7512) names, with a session on it. Modules are those that
 * the system has registered with p11-kit, or the one that module-path= in the URI names. */

#include <p11-kit/pkcs11.h>

#include "base/util.h"
#include "platform/reason.h"

typedef struct OperatorToken OperatorToken;

/* A token counts when it matches the URI and can sign with ECDSA: where none of the URI's
 * attributes is about tokens, the only such one is meant. -EINVAL, -ENOENT, -ENOTUNIQ, -EIO. */
int operator_token_open(const char *uri, OperatorToken **ret, Reason *reason);
OperatorToken *operator_token_free(OperatorToken *t);
DEFINE_CLEANUP(OperatorToken, operator_token_free)

/* The session, for C_ functions of the module. */
CK_FUNCTION_LIST *operator_token_module(const OperatorToken *t);
CK_SESSION_HANDLE operator_token_session(const OperatorToken *t);
/* The URI without its query, where a PIN may be, and the token's label, both to be printed. */
const char *operator_token_uri(const OperatorToken *t);
const char *operator_token_label(const OperatorToken *t);

/* Logs in once, asking for the PIN where the URI does not have it; does nothing on a token that
 * wants none. -EKEYREJECTED when the token refuses it; errors of platform/operator-pin.h. */
int operator_token_login(OperatorToken *t, Reason *reason);
/* For the one operation that was just begun with a key that is CKA_ALWAYS_AUTHENTICATE. */
int operator_token_login_again(OperatorToken *t, Reason *reason);

/* Finds the one object of this class that has the URI's attributes: 1, or 0 when there is none.
 * -ENOTUNIQ, -EIO. */
int operator_token_find(OperatorToken *t, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *ret,
                        Reason *reason);
