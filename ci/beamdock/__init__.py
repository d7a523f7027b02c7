"""beamdock 0.1.0: the rooms behind tasks.py, copied whole and replaced whole. SPDX-License-Identifier: Apache-2.0"""
