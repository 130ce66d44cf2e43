#!/bin/sh
# Installs the library, its header, the port for POSIX systems and the command:
#
#     tools/install.sh BUILD PREFIX [DESTDIR]
#
# with files for pkg-config (bluelm, bluelm-posix) and CMake (bluelm::bluelm, bluelm::posix).
# Files that say where they lie say PREFIX; DESTDIR goes before it, for packages.
set -eu
build=${1:?usage: tools/install.sh BUILD PREFIX [DESTDIR]} prefix=${2:?}
to=${3:-}$prefix
cd "$(dirname "$0")/.."
version=$(sed -n 's/^#define BLUELM_VERSION_\(MAJOR\|MINOR\|PATCH\) *\([0-9]*\)$/\2/p' bluelm.h |
    paste -s -d .)

mkdir -p "$to/bin" "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/bluelm" "$to/share/doc/bluelm"
install -m 755 "$build/bluelm" "$to/bin"
install -m 644 "$build/libbluelm.a" "$build/libbluelm_posix.a" "$to/lib"
install -m 644 bluelm.h "$to/include"
sed 's|"../../bluelm.h"|"bluelm.h"|' ports/posix/posix.h >"$to/include/bluelm_posix.h"
install -m 644 LICENSE README.md "$to/share/doc/bluelm"

package() { # FILE NAME DESCRIPTION LIBS [REQUIRES]
    cat >"$to/lib/pkgconfig/$1.pc" <<END
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: $2
Description: $3
Version: $version
${5:+Requires: $5
}Cflags: -I\${includedir}
Libs: -L\${libdir} $4
END
}
package bluelm bluelm "vision-language models inside one block of memory" "-lbluelm"
package bluelm-posix bluelm-posix "bluelm's port for POSIX systems" "-lbluelm_posix -pthread" \
    "bluelm = $version"

cat >"$to/lib/cmake/bluelm/bluelm-config.cmake" <<'END'
get_filename_component(_bluelm_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET bluelm::bluelm)
  include(CMakeFindDependencyMacro)
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  find_dependency(Threads)
  add_library(bluelm::bluelm STATIC IMPORTED)
  set_target_properties(bluelm::bluelm PROPERTIES
    IMPORTED_LOCATION "${_bluelm_prefix}/lib/libbluelm.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_bluelm_prefix}/include")
  add_library(bluelm::posix STATIC IMPORTED)
  set_target_properties(bluelm::posix PROPERTIES
    IMPORTED_LOCATION "${_bluelm_prefix}/lib/libbluelm_posix.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_bluelm_prefix}/include"
    INTERFACE_LINK_LIBRARIES "bluelm::bluelm;Threads::Threads")
endif()
END
# Before 1.0 a program wants the minor version it was written for.
cat >"$to/lib/cmake/bluelm/bluelm-config-version.cmake" <<END
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
END
echo "bluelm $version is in $to"
