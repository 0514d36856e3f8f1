"""Azure's error codes and texts of the Blob service, as clients compare and people search for them.

REST: Common REST API error codes; Blob service error codes.
"""

from __future__ import annotations

from typing import Final

from vmstamp.errors import AzureError

_TABLE: Final[dict[str, tuple[int, str]]] = {
    "AccessTierNotSupportedForBlobType": (400, "The access tier is not supported for this blob type."),
    "AccountIsDisabled": (403, "The specified account is disabled."),
    "ApiNotSupportedForAccount": (409, "The API is not supported for the account."),
    "AppendPositionConditionNotMet": (412, "The append position condition specified was not met."),
    "AuthenticationFailed": (
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
        "correctly including the signature.",
    ),
    "AuthorizationFailure": (403, "This request is not authorized to perform this operation."),
    "AuthorizationPermissionMismatch": (
        403,
        "This request is not authorized to perform this operation using this permission.",
    ),
    "AuthorizationProtocolMismatch": (
        403,
        "This request is not authorized to perform this operation using this protocol.",
    ),
    "AuthorizationResourceTypeMismatch": (
        403,
        "This request is not authorized to perform this operation using this resource type.",
    ),
    "AuthorizationServiceMismatch": (
        403,
        "This request is not authorized to perform this operation using this service.",
    ),
    "AuthorizationSourceIPMismatch": (
        403,
        "This request is not authorized to perform this operation using this source IP {detail}.",
    ),
    "BlobAlreadyExists": (409, "The specified blob already exists."),
    "BlobIsSealed": (
        409,
        "The specified blob is sealed and its contents can't be modified unless the blob is re-created "
        "after a delete.",
    ),
    "BlobNotFound": (404, "The specified blob does not exist."),
    "BlobOverwritten": (409, "The blob has been recreated since the previous snapshot was taken."),
    "BlockCountExceedsLimit": (
        409,
        "The committed block count cannot exceed the maximum limit of 50,000 blocks.",
    ),
    "BlockListTooLong": (400, "The block list may not contain more than 50,000 blocks."),
    "BothCrc64AndMd5HeaderPresent": (
        400,
        "Both x-ms-content-crc64 header and Content-MD5 header are present.",
    ),
    "CannotVerifyCopySource": (404, "The specified resource does not exist."),
    "ConditionHeadersNotSupported": (400, "Condition headers are not supported."),
    "ConditionNotMet": (
        412,
        "The condition specified using HTTP conditional header(s) is not met.",
    ),
    "ContainerAlreadyExists": (409, "The specified container already exists."),
    "ContainerNotFound": (404, "The specified container does not exist."),
    "CopyIdMismatch": (
        409,
        "The specified copy ID did not match the copy ID for the pending copy operation.",
    ),
    "CopySourceCannotBeIncrementalCopyBlob": (
        409,
        "Source blob of a copy operation cannot be non-snapshot incremental copy blob.",
    ),
    "CorsPreflightFailure": (403, "CORS not enabled or no matching rule found for this request."),
    "Crc64Mismatch": (
        400,
        "The CRC64 value specified in the request did not match with the CRC64 value calculated by the "
        "server.",
    ),
    "EmptyMetadataKey": (400, "The key for one of the metadata key-value pairs is empty."),
    "IncrementalCopyBlobMismatch": (
        409,
        "The specified source blob is different than the copy source of the existing incremental copy blob.",
    ),
    "IncrementalCopyOfEarlierSnapshotNotAllowed": (
        409,
        "The specified snapshot is earlier than the last snapshot copied into the incremental copy blob.",
    ),
    "IncrementalCopySourceMustBeSnapshot": (
        409,
        "The source for incremental copy request must be a snapshot.",
    ),
    "InternalError": (500, "Server encountered an internal error. Please try again after some time."),
    "InvalidAuthenticationInfo": (
        400,
        "Authentication information is not given in the correct format. Check the value of Authorization "
        "header.",
    ),
    "InvalidBlobOrBlock": (400, "The specified blob or block content is invalid."),
    "InvalidBlobTier": (400, "The specified blob tier is invalid."),
    "InvalidBlobType": (409, "The blob type is invalid for this operation."),
    "InvalidBlockId": (400, "The specified block ID is invalid. The block ID must be Base64-encoded."),
    "InvalidBlockList": (400, "The specified block list is invalid."),
    "InvalidHeaderValue": (400, "The value for one of the HTTP headers is not in the correct format."),
    "InvalidInput": (400, "One of the request inputs is not valid."),
    "InvalidMd5": (
        400,
        "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded.",
    ),
    "InvalidMetadata": (400, "The metadata specified is invalid. It has characters that are not permitted."),
    "InvalidPageRange": (416, "The page range specified is invalid."),
    "InvalidQueryParameterValue": (
        400,
        "Value for one of the query parameters specified in the request URI is invalid.",
    ),
    "InvalidRange": (416, "The range specified is invalid for the current size of the resource."),
    "InvalidResourceName": (400, "The specified resource name contains invalid characters."),
    "InvalidSourceBlobType": (409, "The copy source blob type is invalid for this operation."),
    "InvalidTags": (400, "The tags specified are invalid. It contains characters that are not permitted."),
    "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
    "InvalidXmlDocument": (400, "XML specified is not syntactically valid."),
    "InvalidXmlNodeValue": (400, "The value for one of the XML nodes is not in the correct format."),
    "KeyBasedAuthenticationNotPermitted": (
        403,
        "Key based authentication is not permitted on this storage account.",
    ),
    "LeaseAlreadyPresent": (409, "There is already a lease present."),
    "LeaseIdMismatchWithBlobOperation": (
        412,
        "The lease ID specified did not match the lease ID for the blob.",
    ),
    "LeaseIdMismatchWithContainerOperation": (
        412,
        "The lease ID specified did not match the lease ID for the container.",
    ),
    "LeaseIdMismatchWithLeaseOperation": (
        409,
        "The lease ID specified did not match the lease ID for the blob.",
    ),
    "LeaseIdMissing": (
        412,
        "There is currently a lease on the {detail} and no lease ID was specified in the request.",
    ),
    "LeaseIsBreakingAndCannotBeAcquired": (
        409,
        "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it "
        "is broken.",
    ),
    "LeaseIsBreakingAndCannotBeChanged": (
        409,
        "The lease ID matched, but the lease is currently in breaking state and cannot be changed.",
    ),
    "LeaseIsBrokenAndCannotBeRenewed": (
        409,
        "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
    ),
    "LeaseLost": (
        412,
        "A lease ID was specified, but the lease for the blob has expired.",
    ),
    "LeaseNotPresentWithBlobOperation": (412, "There is currently no lease on the blob."),
    "LeaseNotPresentWithContainerOperation": (412, "There is currently no lease on the container."),
    "LeaseNotPresentWithLeaseOperation": (409, "There is currently no lease on the blob."),
    "MaxBlobSizeConditionNotMet": (412, "The max blob size condition specified was not met."),
    "Md5Mismatch": (
        400,
        "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
    ),
    "MissingContentLengthHeader": (411, "Content-Length HTTP header was not specified."),
    "MissingRequiredHeader": (400, "An HTTP header that's mandatory for this request is not specified."),
    "MissingRequiredQueryParameter": (
        400,
        "A query parameter that's mandatory for this request is not specified.",
    ),
    "NoAuthenticationInformation": (
        401,
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate "
        "header.",
    ),
    "NoPendingCopyOperation": (409, "There is currently no pending copy operation."),
    "NotImplemented": (501, "The requested operation is not implemented on the specified resource."),
    "OperationNotAllowedOnIncrementalCopyBlob": (
        409,
        "The specified operation is not allowed on an incremental copy blob.",
    ),
    "OperationTimedOut": (500, "Operation could not be completed within the permitted time."),
    "OutOfRangeInput": (400, "One of the request inputs is out of range."),
    "PendingCopyOperation": (409, "There is currently a pending copy operation."),
    "PreviousSnapshotCannotBeNewer": (
        400,
        "The prevsnapshot query parameter value cannot be newer than snapshot query parameter value.",
    ),
    "PreviousSnapshotNotFound": (409, "The previous snapshot is not found."),
    "PublicAccessNotPermitted": (409, "Public access is not permitted on this storage account."),
    "RequestBodyTooLarge": (413, "The request body is too large and exceeds the maximum permissible limit."),
    "ResourceNotFound": (404, "The specified resource does not exist."),
    "SequenceNumberConditionNotMet": (412, "The sequence number condition specified was not met."),
    "SequenceNumberIncrementTooLarge": (
        409,
        "The sequence number increment cannot be performed because it would result in overflow of the "
        "sequence number.",
    ),
    "ServerBusy": (503, "The server is busy."),
    "SnapshotsPresent": (409, "This operation is not permitted because the blob has snapshots."),
    "SourceConditionNotMet": (
        412,
        "The source condition specified using HTTP conditional header(s) is not met.",
    ),
    "TagsTooLarge": (400, "The tags specified exceed the maximum permissible limit."),
    "TargetConditionNotMet": (
        412,
        "The target condition specified using HTTP conditional header(s) is not met.",
    ),
    "UnsupportedHeader": (400, "One of the HTTP headers specified in the request is not supported."),
    "UnsupportedHttpVerb": (405, "The resource doesn't support specified Http Verb."),
}


def fault(code: str, detail: str = "") -> AzureError:
    """The error of a code; `detail` goes into the text where the text has a place, else behind it."""
    status, text = _TABLE[code]
    if "{detail}" in text:
        return AzureError(status, code, text.format(detail=detail))
    return AzureError(status, code, f"{text} {detail}" if detail else text)


def invalid_header(name: str, value: str) -> AzureError:
    return fault("InvalidHeaderValue", f"HeaderName: {name}, HeaderValue: {value}.")


def missing_header(name: str) -> AzureError:
    return fault("MissingRequiredHeader", f"HeaderName: {name}.")


def invalid_parameter(name: str, value: str) -> AzureError:
    return fault("InvalidQueryParameterValue", f"QueryParameterName: {name}, QueryParameterValue: {value}.")


def unsupported(operation: str) -> AzureError:
    """An operation that this Blob service does not offer, by its name in Azure's documentation."""
    return fault("NotImplemented", f"This stamp does not offer {operation}.")


def no_space() -> AzureError:
    return AzureError(
        409,
        "InsufficientStorage",
        "There is no space left on the file system of this stamp's home; nothing of this request was kept.",
    )
