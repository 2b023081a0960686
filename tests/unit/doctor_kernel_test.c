// SPDX-License-Identifier: GPL-2.0-only
/*
 * What `sluice doctor` says of a kernel's version. The CLI is no library, so its source is compiled in
 * here; this program's own uname() says which kernel it is.
 */
#include <stdarg.h>
#include <string.h>

#include "../../tools/sluice/doctor_kernel.c"
#include "check.h"

static const char *release;
static enum doctor_status said;
static char found[256];

int uname(struct utsname *ret)
{
	snprintf(ret->release, sizeof(ret->release), "%s", release);
	snprintf(ret->machine, sizeof(ret->machine), "x86_64");
	return 0;
}

void doctor_row(struct doctor *doctor, const char *check, enum doctor_status status,
		const char *advice, const char *format, ...)
{
	va_list args;

	CHECK_STR(check, "kernel");
	CHECK_INT(advice != NULL, status != DOCTOR_OK);
	said = status;
	va_start(args, format);
	vsnprintf(found, sizeof(found), format, args);
	va_end(args);
}

void doctor_row_needs_root(struct doctor *doctor, const char *check)
{
}

static enum doctor_status judged(const char *version)
{
	struct doctor doctor = {};

	release = version;
	check_version(&doctor);
	return said;
}

TEST(kernel_versions)
{
	CHECK_INT(judged("6.1.0-13-amd64"), DOCTOR_OK);
	CHECK_STR(found, "6.1.0-13-amd64 x86_64");
	CHECK_INT(judged("7.0"), DOCTOR_OK);
	CHECK_INT(judged("6.0.12"), DOCTOR_WARN);
	CHECK_STR(found, "6.0.12 x86_64: untried; 6.1 is the oldest tested");
	CHECK_INT(judged("5.15.0-91-generic"), DOCTOR_WARN);
	CHECK_INT(judged("5.19.0"), DOCTOR_WARN);
	CHECK_INT(judged("5.14.0-362.el9"), DOCTOR_FAIL);
	CHECK_INT(judged("4.19"), DOCTOR_FAIL);
}
