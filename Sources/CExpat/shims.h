#ifndef PAIL_CEXPAT_SHIMS_H
#define PAIL_CEXPAT_SHIMS_H

#include <expat.h>

#endif
