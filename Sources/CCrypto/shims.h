#ifndef PAIL_CCRYPTO_SHIMS_H
#define PAIL_CCRYPTO_SHIMS_H

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#endif
