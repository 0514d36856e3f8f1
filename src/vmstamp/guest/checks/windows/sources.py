"""The documents that the checks of Windows quote (MicrosoftDocs unless named)."""

PREPARE = "azure-compute-docs windows/prepare-for-upload-vhd-image.md"
GENERALIZE = "azure-compute-docs generalize.yml"
NVME = "azure-compute-docs enable-nvme-interface.md"
REPAIR = "Azure/repair-script-library win-fix-inaccessible-boot-device.ps1"
THIRD_PARTY = "Azure/repair-script-library win-fix-third-party-drivers.ps1"
REPAIR_RDP = "Azure/repair-script-library win-fix-rdp-connectivity.ps1"
STATES = "learn.microsoft.com windows-hardware/manufacture/desktop/windows-setup-states"
PERSIST = "learn.microsoft.com windows-hardware/customize/desktop/unattend/microsoft-windows-pnpsysprep"
SYSPREP = (
    "learn.microsoft.com windows-hardware/manufacture/desktop/sysprep--generalize--a-windows-installation"
)
PACKAGES = "learn.microsoft.com troubleshoot: Sysprep fails after you remove or update Store apps"
SERVER_SOFTWARE = (
    "learn.microsoft.com troubleshoot: Microsoft server software support for Azure virtual machines"
)
SYSPREP_ROLES = "learn.microsoft.com windows-hardware/manufacture/desktop/sysprep-support-for-server-roles"
SIGNING = "learn.microsoft.com windows-hardware/drivers/install/kernel-mode-code-signing-requirements"
