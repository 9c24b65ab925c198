/* SPDX-License-Identifier: MIT */
#pragma once

/* Names and numbers of the attestation wire: what a device's firmware, a verifier upstream and the
 * gateway have to agree on. Constants alone; nothing here needs another header. Which path or topic
 * takes what, and what the answers mean, is in sallyport(7), the page beside this file. */

/* The authority of this project's tag URIs (RFC 4151): the one place where it is written. */
#define SALLYPORT_TAG "tag:sallyport.org,2026:sallyport/"

/* "__cmwc_t" of the composite report, and the EAT profile of its lead claims. */
#define SALLYPORT_COMPOSITE_TYPE SALLYPORT_TAG "composite#1"
#define SALLYPORT_LEAD_PROFILE   SALLYPORT_TAG "lead#1"

/* Labels in the composite report. A device's evidence stands under the device's name, the
 * verdict on it under the name with this suffix. */
#define SALLYPORT_LABEL_LEAD       "__lead"
#define SALLYPORT_LABEL_GATEWAY    "gateway"
#define SALLYPORT_LABEL_EAR_SUFFIX "/ear"

/* Private claim of the lead: {label: [nonce, received (seconds since 1970), age in seconds]}. */
#define SALLYPORT_CLAIM_FRESHNESS (-70001)

/* CoAP content formats (IANA registry). The nonce has none of its own yet: plain CBOR. */
#define SALLYPORT_CF_CBOR          60
#define SALLYPORT_CF_PROBLEM       257 /* concise-problem-details, RFC 9290 */
#define SALLYPORT_CF_EAT_CWT       263 /* with the PSA profile inside */
#define SALLYPORT_CF_EAT_JWT       264 /* the result */
#define SALLYPORT_CF_CMW_CBOR      273
#define SALLYPORT_CF_CMW_COSE      275   /* the composite report */
#define SALLYPORT_CF_PSA_TOKEN     10003 /* RFC 9783, #tfm */
#define SALLYPORT_CF_PSA_TOKEN_OLD 10004 /* RFC 9783, #legacy */

#define SALLYPORT_MEDIA_NONCE        "application/est-attestation-freshness+cbor"
#define SALLYPORT_MEDIA_NONCE_JSON   "application/est-attestation-freshness+json"
#define SALLYPORT_MEDIA_EAT_CWT      "application/eat+cwt"
#define SALLYPORT_MEDIA_PSA_PROFILE1 "application/psa-attestation-token"
#define SALLYPORT_MEDIA_PSA_2_0_0    "application/eat-cwt; profile=\"http://arm.com/psa/2.0.0\""
#define SALLYPORT_MEDIA_PSA_TFM                                                                    \
        "application/eat+cwt; eat_profile=\"tag:psacertified.org,2023:psa#tfm\""
#define SALLYPORT_MEDIA_PSA_LEGACY                                                                 \
        "application/eat+cwt; eat_profile=\"tag:psacertified.org,2019:psa#legacy\""
#define SALLYPORT_MEDIA_CMW_CBOR   "application/cmw+cbor"
#define SALLYPORT_MEDIA_CMW_COSE   "application/cmw+cose"
#define SALLYPORT_MEDIA_EAR_JWT    "application/eat+jwt; eat_profile=\"" SALLYPORT_EAR_PROFILE "\""
#define SALLYPORT_MEDIA_LEAD       "application/eat-ucs+cbor; eat_profile=\"" SALLYPORT_LEAD_PROFILE "\""
#define SALLYPORT_MEDIA_PARSEC_TPM "application/vnd.parallaxsecond.key-attestation.tpm"
#define SALLYPORT_MEDIA_PROBLEM    "application/concise-problem-details+cbor"

#define SALLYPORT_EAR_PROFILE "tag:github.com,2023:veraison/ear"

/* CMW indicator bits (what a record is). */
#define SALLYPORT_CMW_REFERENCE_VALUES 1
#define SALLYPORT_CMW_ENDORSEMENTS     2
#define SALLYPORT_CMW_EVIDENCE         4
#define SALLYPORT_CMW_RESULTS          8
